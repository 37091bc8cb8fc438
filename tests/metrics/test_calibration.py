"""Calibration against torchmetrics, and what is said of it."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassCalibrationError

from xfm.metrics.calibration import BINS, calibration


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
