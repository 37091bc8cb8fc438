"""Classes and values against scikit-learn and SciPy, on random and adversarial inputs."""

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics
from sklearn.dummy import DummyClassifier

from xfm.evaluation.benchmarks.read.glue import FORMATS, GlueTask
from xfm.evaluation.benchmarks.scorers import glue_metrics
from xfm.metrics.classification import (
    accuracy,
    area_under_roc,
    confusion_matrix,
    f1,
    in_top_k,
    listed_accuracy,
    majority_accuracy,
    matthews,
    mean_class_accuracy,
    most_frequent,
    pearson,
    precision_recall_f1,
    spearman,
    value_scores,
)
from xfm.metrics.labels import (
    average_precision,
    best_threshold,
    exact_matches,
    label_metrics,
    precision_recall_f1_of_labels,
)

LABELS = st.integers(2, 5).flatmap(
    lambda classes: st.lists(
        st.tuples(st.integers(0, classes - 1), st.integers(0, classes - 1)), min_size=1, max_size=60
    )
)
"""Predicted and true classes: constants, single rows and full agreement among them."""
VALUES = st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=2, max_size=30)


def columns(rows: list[tuple[Any, Any]]) -> tuple[np.ndarray, np.ndarray]:
    predictions, targets = (np.array(column) for column in zip(*rows, strict=True))
    return predictions, targets


def quietly(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


@settings(max_examples=100)
@given(LABELS)
def test_of_classes(rows: list[tuple[int, int]]) -> None:
    predictions, targets = columns(rows)
    assert accuracy(predictions, targets) == pytest.approx(metrics.accuracy_score(targets, predictions))
    dummy = DummyClassifier(strategy="most_frequent").fit(targets, targets)
    assert majority_accuracy(targets) == pytest.approx(dummy.score(targets, targets))
    balanced = quietly(metrics.balanced_accuracy_score, targets, predictions)
    assert mean_class_accuracy(predictions, targets) == pytest.approx(balanced)
    expected = quietly(metrics.matthews_corrcoef, targets, predictions)
    assert matthews(predictions, targets) == pytest.approx(expected, abs=1e-12)
    names = [str(label) for label in range(5)]
    matrix = confusion_matrix(*([str(label) for label in column] for column in (targets, predictions)), names)
    assert (matrix == metrics.confusion_matrix(targets, predictions, labels=range(5))).all()
    each = metrics.precision_recall_fscore_support(targets, predictions, labels=range(5), zero_division=0.0)
    np.testing.assert_allclose(precision_recall_f1(matrix).T, each[:3])
    ones, others = predictions > 0, targets > 0
    assert f1(ones, others) == pytest.approx(metrics.f1_score(others, ones, zero_division=0.0))
    roc = metrics.roc_auc_score(others, predictions) if len(set(others.tolist())) == 2 else 0.5
    assert area_under_roc(predictions.astype(float), others) == pytest.approx(roc)


@settings(max_examples=100)
@given(VALUES)
def test_of_values(rows: list[tuple[float, float]]) -> None:
    predictions, targets = columns(rows)
    for ours, theirs in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        expected = quietly(theirs, predictions, targets).statistic
        expected = float(expected) if np.isfinite(expected) else 0.0
        assert ours(predictions, targets) == pytest.approx(expected, abs=1e-12)
    varied = float(((targets - targets.mean()) ** 2).sum())
    expected = metrics.r2_score(targets, predictions) if varied else 0.0
    assert value_scores(predictions, targets)["r2"] == pytest.approx(expected)


@pytest.mark.parametrize("task", list(GlueTask))
@settings(max_examples=40)
@given(labels=LABELS, values=VALUES)
def test_glue(task: GlueTask, labels: list[tuple[int, int]], values: list[tuple[float, float]]) -> None:
    classes = FORMATS[task].classes
    predictions, targets = columns(labels if classes else values)
    if classes:
        predictions, targets = predictions % len(classes), targets % len(classes)
    right = accuracy(predictions, targets)
    match task:
        case GlueTask.STSB:
            expected = {"pearson": pearson(predictions, targets), "spearman": spearman(predictions, targets)}
            expected["pearson_spearman"] = sum(expected.values()) / 2
        case GlueTask.COLA:
            expected = {"mcc": quietly(metrics.matthews_corrcoef, targets, predictions)}
        case GlueTask.MRPC | GlueTask.QQP:
            score = metrics.f1_score(targets, predictions, zero_division=0.0)
            expected = {"accuracy": right, "f1": score, "accuracy_f1": (right + score) / 2}
        case _:
            expected = {"accuracy": right}
    both = (np.array(classes)[column] if classes else column for column in (predictions, targets))
    assert glue_metrics(task, *both) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=100)
@given(rows=st.integers(1, 30), classes=st.integers(2, 8), k=st.integers(1, 9), seed=st.integers(0, 2**16))
def test_of_the_first_k(rows: int, classes: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    scores, targets = rng.normal(size=(rows, classes)), rng.integers(0, classes, rows)
    order = np.argsort(-scores, axis=1)[:, :k]
    expected = listed_accuracy([*map(str, targets)], [[*map(str, row)] for row in order])
    assert in_top_k(scores, targets, k).mean() == pytest.approx(expected)
    if k < classes > 2:  # scikit-learn warns otherwise; with two classes it wants one column
        theirs = metrics.top_k_accuracy_score(targets, scores, k=k, labels=np.arange(classes))
        assert expected == pytest.approx(theirs)


def test_a_majority_may_be_that_of_other_rows() -> None:
    labels, seen = np.array(["a", "a", "b", "c"]), np.array(["b", "b", "d", "d", "e", "a"])
    assert most_frequent(seen, 2).tolist() == ["b", "d"]
    assert [majority_accuracy(labels, seen, count) for count in (1, 2, 4, 9)] == [0.25, 0.25, 0.75, 0.75]


SampledRows = tuple[np.ndarray, np.ndarray, np.ndarray]


@st.composite
def drawn(draw: st.DrawFn) -> SampledRows:
    """Truth, labels that are given and scores, [N, C]: with ties, and labels that no row has.

    Of one column scikit-learn would believe that it is two classes.
    """
    rows, labels, seed = draw(st.integers(1, 30)), draw(st.integers(2, 6)), draw(st.integers(0, 999))
    rng = np.random.default_rng(seed)
    often = rng.choice([0.0, 0.2, 0.6, 1.0], labels)
    steps = draw(st.sampled_from([2, 7, 1000]))
    scores = rng.integers(0, steps, (rows, labels)) / steps
    return rng.random((rows, labels)) < often, rng.random((rows, labels)) < 0.4, scores


@given(drawn())
def test_metrics_are_scikit_learns(given: SampledRows) -> None:
    truth, guess, scores = given
    found = label_metrics(truth, guess, scores)
    # Without a label anywhere scikit-learn leaves undefined what is 0 here.
    micro = metrics.f1_score(truth, guess, average="micro", zero_division=0)
    assert found["f1_micro"] == pytest.approx(micro)
    occur = np.flatnonzero(truth.any(axis=0) | guess.any(axis=0))
    macro = [metrics.f1_score(truth[:, at], guess[:, at], zero_division=0) for at in occur]
    assert found["f1_macro"] == pytest.approx(np.mean(macro) if macro else 0)
    assert found["exact_match"] == pytest.approx(metrics.accuracy_score(truth, guess))
    there = truth.any(axis=0)
    each = [metrics.average_precision_score(truth[:, at], scores[:, at]) for at in np.flatnonzero(there)]
    assert found["mean_ap"] == pytest.approx(np.mean(each) if each else 0)
    assert average_precision(scores[:, 0], np.zeros(len(truth), bool)) == 0
    assert exact_matches(truth, guess).mean() == pytest.approx(found["exact_match"])
    right = metrics.precision_recall_fscore_support(truth, guess, zero_division=0, average=None)
    np.testing.assert_allclose(precision_recall_f1_of_labels(truth, guess), np.stack(right[:3], axis=1))


@given(drawn())
def test_the_threshold_is_the_best_of_all(given: SampledRows) -> None:
    truth, _, scores = given
    found = best_threshold(scores, truth, 0.5)
    if not truth.any():
        assert found == 0.5
        return
    ours = f1(truth, scores >= found)
    assert 0 < found <= 1
    # A score of 0 is never given: the model rules the label out.
    tried = [f1(truth, scores >= one) for one in np.unique(scores) if one > 0]
    assert ours == pytest.approx(max([*tried, 0.0]))
    between = np.unique(scores)
    assert np.abs(between - found).min() > 0
