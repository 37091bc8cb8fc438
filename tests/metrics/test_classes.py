"""Metrics of classes by name equal scikit-learn's, and their calibration torchmetrics'."""

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from sklearn.calibration import _sigmoid_calibration  # Platt's, private there
from torchmetrics.classification import MulticlassCalibrationError

from xfm.config.labels import PresenceFit
from xfm.metrics.calibration import (
    GallerySearches,
    bins_of,
    calibration,
    error_interval,
    fit_presence,
    fitted_temperature,
    platt,
    sure_and_right,
    tempered,
)
from xfm.metrics.classification import class_hits, class_metrics
from xfm.tasks.labelling import OneLabel


@settings(max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 40))
def test_metrics_are_those_of_scikit_learn(seed: int, classes: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    known = OneLabel(tuple(f"c{place:02d}" for place in range(classes)))
    logits, places = rng.normal(size=(count, classes)), rng.integers(classes, size=count)
    truth, choices = [known.names[place] for place in places], known.predictions(torch.from_numpy(logits))
    guess, found = [choice.label for choice in choices], class_metrics(truth, choices, known.names)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert class_hits(truth, choices).mean() == pytest.approx(found["accuracy"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["f1_macro"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
        assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(truth, guess), abs=1e-12)
    assert ("top5" in found) == (classes >= 10)
    if classes >= 10:
        expected = reference.top_k_accuracy_score(places, logits, k=5, labels=np.arange(classes))
        assert found["top5"] == pytest.approx(expected)


# ---------------------------------------------------------------- calibration
@settings(max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 400))
def test_error_is_torchmetrics(seed: int, classes: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(rows, classes, generator=generator)).softmax(-1)
    truth = torch.randint(classes, (rows,), generator=generator)
    theirs = MulticlassCalibrationError(num_classes=classes, n_bins=bins_of(rows), norm="l1")
    expected = theirs(probabilities, truth)
    sure, best = probabilities.max(-1)
    found = calibration(sure.tolist(), (best == truth).tolist())
    assert found.error == pytest.approx(float(expected), abs=1e-5)
    assert sum(one["count"] for one in found.bins) == rows


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


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("wanted", [0.4, 5.0])
def test_the_temperature_that_was_there_is_found(wanted: float, several: bool) -> None:
    """Of probabilities that are too sure, or not sure enough; the order stays, and the error falls."""
    rng = np.random.default_rng(0)
    logits = rng.normal(0, 1, (4000, 6))
    sums = 1 + np.exp(-logits) if several else np.exp(-logits) * np.exp(logits).sum(axis=1, keepdims=True)
    right = 1 / sums
    stated = tempered(right, 1 / wanted, several)
    truth = rng.random(right.shape) < right
    if not several:
        truth = np.eye(6, dtype=bool)[[rng.choice(6, p=row) for row in right]]
    found = fitted_temperature(stated, truth, several)
    assert found == pytest.approx(wanted, rel=0.08)
    assert (tempered(stated, found, several).argsort(axis=1) == stated.argsort(axis=1)).all()
    assert tempered(tempered(stated, found, several), 1 / found, several) == pytest.approx(stated, abs=1e-5)


@pytest.mark.parametrize("seed", [0, 3])
def test_platt_is_scikit_learns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    odds = rng.normal(0, 6, 600) + seed
    true = rng.random(600) < 1 / (1 + np.exp(-0.3 * odds + 0.5))
    slope, bias = _sigmoid_calibration(odds, true)
    assert platt(odds, true) == pytest.approx((-slope, -bias), abs=2e-3)
    before, after = (calibration(*sure_and_right(odds, true, *how)) for how in ((), platt(odds, true)))
    assert after.error < 0.06 < before.error


def searches(seed: int, sizes: tuple[int, ...], count: int = 1500, depth: int = 8) -> GallerySearches:
    """What fits stands out in both scores; of what does not, the best of more is higher."""
    rng = np.random.default_rng(seed)
    pictures = np.tile(np.repeat(sizes, 2), count)
    there = np.arange(len(pictures)) % 2 == 0
    contrast = np.empty((len(pictures), depth))
    for size in sizes:
        own = np.flatnonzero(pictures == size)
        drawn = rng.standard_normal((len(own), size))
        contrast[own] = -np.sort(-drawn, axis=1)[:, :depth]
    odds = rng.standard_normal(contrast.shape) - 2
    contrast[there, 0], odds[there, 0] = (rng.normal(mean, 1, there.sum()) for mean in (3.5, 1.0))
    return GallerySearches(contrast, odds, there, pictures, np.arange(len(pictures)))


def judged(tested: GallerySearches, fitted: PresenceFit) -> tuple[np.ndarray, np.ndarray]:
    """The probability that something fits, and from which a search answers."""
    heights, counts = tested.heights(fitted.contrast, fitted.matching).tolist(), tested.pictures.tolist()
    sure = [fitted.probability(*pair) for pair in zip(heights, counts, strict=True)]
    return np.array(sure), np.array([fitted.threshold(count) for count in counts])


def test_as_many_are_answered_as_was_asked_whatever_the_gallery() -> None:
    fitted = fit_presence(searches(0, (10, 40, 160)), "drawn")
    tested = searches(1, (10, 40, 160, 640))
    sure, least = judged(tested, fitted)
    answered = sure >= least
    for size in (10, 40, 160):
        own = (tested.pictures == size) & tested.there
        assert own.sum() == 1500
        assert answered[own].mean() == pytest.approx(0.95, abs=0.02)
    absent = {size: (tested.pictures == size) & ~tested.there for size in (10, 640)}
    assert (~answered)[absent[10]].mean() > (~answered)[absent[640]].mean()


def test_the_probability_is_one() -> None:
    fitted, tested = fit_presence(searches(0, (10, 160)), "drawn"), searches(1, (10, 160))
    sure, _ = judged(tested, fitted)
    for low in (0.0, 0.25, 0.5, 0.75):
        own = (sure >= low) & (sure < low + 0.25)
        assert tested.there[own].mean() == pytest.approx(sure[own].mean(), abs=0.06)
    assert fitted.threshold(2) == fitted.threshold(10)
