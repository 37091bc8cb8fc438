"""Metrics of classes by name equal scikit-learn's, and their calibration torchmetrics'."""

import tracemalloc
import warnings

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference
from torchmetrics.classification import MulticlassCalibrationError

from xfm.metrics.calibration import BINS, calibration
from xfm.metrics.classes import class_hits, class_metrics
from xfm.tasks.classes import Labels


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6), st.integers(2, 12), st.integers(1, 40))
def test_metrics_are_those_of_scikit_learn(seed: int, classes: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    known = Labels(tuple(f"c{place:02d}" for place in range(classes)))
    logits, places = rng.normal(size=(count, classes)), rng.integers(classes, size=count)
    truth, choices = [known.names[place] for place in places], known.choices(torch.from_numpy(logits))
    guess, found = [choice.label for choice in choices], class_metrics(truth, choices, known.names)
    assert found["accuracy"] == pytest.approx(reference.accuracy_score(truth, guess))
    assert class_hits(truth, choices).mean() == pytest.approx(found["accuracy"])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert found["f1_macro"] == pytest.approx(reference.f1_score(truth, guess, average="macro"))
        assert found["mcc"] == pytest.approx(reference.matthews_corrcoef(truth, guess), abs=1e-12)
    if classes > 5:
        expected = reference.top_k_accuracy_score(places, logits, k=5, labels=np.arange(classes))
        assert found["top5"] == pytest.approx(expected)


def test_a_class_with_a_long_name_costs_no_more_memory_than_it_has() -> None:
    """numpy's texts would all be as wide as the longest: a label that is a whole document took gigabytes."""
    names = ("a", "b" * 50_000)
    truth = [names[n % 2] for n in range(500)]
    predicted = [Labels(names).certain(label) for label in truth]
    tracemalloc.start()
    try:
        assert class_metrics(truth, predicted, names)["mcc"] == 1
        assert tracemalloc.get_traced_memory()[1] < 20 << 20
    finally:
        tracemalloc.stop()


# ---------------------------------------------------------------- calibration
@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000), st.integers(2, 6), st.integers(1, 300))
def test_error_is_torchmetrics(seed: int, classes: int, rows: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    probabilities = (3 * torch.randn(rows, classes, generator=generator)).softmax(-1)
    truth = torch.randint(classes, (rows,), generator=generator)
    expected = MulticlassCalibrationError(num_classes=classes, n_bins=BINS, norm="l1")(probabilities, truth)
    sure, best = probabilities.max(-1)
    found = calibration(sure.tolist(), (best == truth).tolist())
    assert found.error == pytest.approx(float(expected), abs=1e-5)
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
