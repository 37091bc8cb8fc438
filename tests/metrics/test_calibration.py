"""Calibration against torchmetrics, and what is said of it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import _sigmoid_calibration  # Platt's, private there
from torchmetrics.classification import MulticlassCalibrationError

from xfm.metrics.calibration import BINS, calibration, error_interval, platt, sure_and_right


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 300))
def test_error_is_torchmetrics(seed: int, classes: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(rows, classes, generator=generator)).softmax(-1)
    truth = torch.randint(classes, (rows,), generator=generator)
    reference = MulticlassCalibrationError(num_classes=classes, n_bins=BINS, norm="l1")(probabilities, truth)
    sure, best = probabilities.max(-1)
    found = calibration(sure.tolist(), (best == truth).tolist())
    assert found.error == pytest.approx(float(reference), abs=1e-5)
    assert sum(one.count for one in found.bins) == rows


@pytest.mark.parametrize(
    ("sure", "right", "word"),
    [(0.95, 0.6, "over-confident"), (0.5, 0.9, "under-confident"), (0.8, 0.8, "as sure")],
)
def test_the_sentence_says_which_way(sure: float, right: float, word: str) -> None:
    hits = np.arange(200) < round(200 * right)
    found = calibration(np.full(200, sure), hits)
    assert word in found.sentence
    assert "200 rows" in found.sentence
    assert found.error == pytest.approx(abs(sure - right))


def test_the_errors_interval_is_as_wide_as_samples_scatter() -> None:
    """Of rows that are surer than right: 95 % of samples lie as far apart as an interval is wide."""
    rng = np.random.default_rng(0)

    def sample() -> tuple[np.ndarray, np.ndarray]:
        sure = rng.uniform(0.5, 1.0, 500)
        return sure, rng.random(500) < sure - 0.1

    errors = [calibration(*sample()).error for _ in range(200)]
    spread = float(np.diff(np.quantile(errors, [0.025, 0.975]))[0])
    found = [error_interval(*sample(), np.arange(500)) for _ in range(5)]
    assert np.mean([one.high - one.low for one in found]) == pytest.approx(spread, rel=0.25)
    assert all(0 < one.low < one.value < one.high for one in found)


@pytest.mark.parametrize("seed", range(4))
def test_platt_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 6, 600) + seed
    true = rng.random(600) < 1 / (1 + np.exp(-0.3 * odds + 0.5))
    slope, bias = _sigmoid_calibration(odds, true)
    assert platt(odds, true) == pytest.approx((-slope, -bias), abs=2e-3)
    before, after = (calibration(*sure_and_right(odds, true, *how)) for how in ((), platt(odds, true)))
    assert after.error < 0.06 < before.error


def test_platt_of_odds_that_separate_or_mislead() -> None:
    true = np.arange(40) < 20
    slope, bias = platt(np.where(true, 9.0, -9.0), true)
    assert 0 < slope < 1
    assert bias == pytest.approx(0, abs=1e-3)
    assert platt(np.where(true, -9.0, 9.0), true)[0] == 0
    with pytest.raises(ValueError, match="40 true and 0 false pairs"):
        platt(np.ones(40), np.ones(40, dtype=bool))
