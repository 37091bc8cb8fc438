"""Against scikit-learn and SciPy, on random and adversarial inputs."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn import metrics

from xfm.metrics.classification import f1, matthews, pearson, spearman
from xfm.reproduce.read.glue import FORMATS, GlueTask
from xfm.reproduce.score.glue import glue_metrics

CASES = range(300)


def pair(seed: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Two arrays of labels; some seeds give constants, single rows or full agreement."""
    rng = np.random.default_rng(seed)
    n = 1 if seed % 11 == 0 else int(rng.integers(1, 60))
    targets = rng.integers(0, classes, n)
    predictions = targets.copy() if seed % 7 == 0 else rng.integers(0, classes, n)
    if seed % 5 == 0:
        predictions[:] = 0
    if seed % 13 == 0:
        targets[:] = classes - 1
    return predictions, targets


def quiet(function, *arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return function(*arguments, **options)


@pytest.mark.parametrize("seed", CASES)
def test_f1(seed: int) -> None:
    predictions, targets = pair(seed, 2)
    assert f1(predictions, targets) == pytest.approx(
        metrics.f1_score(targets, predictions, zero_division=0.0)
    )


@pytest.mark.parametrize("seed", CASES)
def test_matthews(seed: int) -> None:
    predictions, targets = pair(seed, 2 + seed % 4)
    expected = quiet(metrics.matthews_corrcoef, targets, predictions)
    assert matthews(predictions, targets) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 5), st.floats(0, 5)), min_size=2, max_size=30))
def test_correlations(rows: list[tuple[float, float]]) -> None:
    predictions, targets = (np.array(column) for column in zip(*rows, strict=True))
    for ours, theirs in ((pearson, stats.pearsonr), (spearman, stats.spearmanr)):
        expected = quiet(theirs, predictions, targets).statistic
        expected = float(expected) if np.isfinite(expected) else 0.0
        assert ours(predictions, targets) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("task", list(GlueTask))
@pytest.mark.parametrize("seed", range(40))
def test_glue(task: GlueTask, seed: int) -> None:
    classes = FORMATS[task].classes
    if not classes:
        rng = np.random.default_rng(seed)
        predictions, targets = rng.normal(size=50), rng.uniform(0, 5, 50)
        expected = {
            "pearson": stats.pearsonr(predictions, targets).statistic,
            "spearman": stats.spearmanr(predictions, targets).statistic,
        }
        expected["pearson_spearman"] = sum(expected.values()) / 2
        assert glue_metrics(task, predictions.tolist(), targets.tolist()) == pytest.approx(expected)
        return
    predictions, targets = pair(seed, len(classes))
    found = glue_metrics(task, [classes[p] for p in predictions], [classes[t] for t in targets])
    right = metrics.accuracy_score(targets, predictions)
    match task:
        case GlueTask.COLA:
            expected = {"mcc": quiet(metrics.matthews_corrcoef, targets, predictions)}
        case GlueTask.MRPC | GlueTask.QQP:
            score = metrics.f1_score(targets, predictions, zero_division=0.0)
            expected = {"accuracy": right, "f1": score, "accuracy_f1": (right + score) / 2}
        case _:
            expected = {"accuracy": right}
    assert found == pytest.approx(expected, abs=1e-12)


def test_matthews_of_many_rows_does_not_overflow() -> None:
    targets = np.arange(4_000_000) % 2
    assert matthews(targets, targets) == 1.0
    assert matthews(1 - targets, targets) == -1.0


@pytest.mark.parametrize("metric", [f1, matthews, pearson, spearman])
def test_nothing_and_unequal_lengths_are_refused(metric) -> None:
    with pytest.raises(ValueError, match="nothing"):
        metric(np.array([]), np.array([]))
    with pytest.raises(ValueError, match="not two equal rows"):
        metric(np.zeros(3), np.zeros(4))
