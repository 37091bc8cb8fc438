"""Metrics of classes and of values, as pure functions of arrays. Shares are fractions from 0 to 1."""

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]
TOP, FEWEST_FOR_TOP = 5, 10
"""Classes that top-5 accuracy looks at, and those there must be: of fewer, half of all guesses are right."""


def accuracy(predictions: Array, targets: Array) -> float:
    """Share of equal entries of two [N] arrays; ValueError for other shapes or none."""
    predictions, targets = _same_length(predictions, targets)
    return float((predictions == targets).mean())


def most_frequent(labels: Array, count: int = 1) -> Array:
    """The `count` most frequent of [N] labels; ties in their order."""
    names, counts = np.unique(np.asarray(labels), return_counts=True)
    return names[np.argsort(-counts, kind="stable")[:count]]


def share(right: Sequence[bool] | Array) -> float:
    """Share of [N] rows that are right; ValueError for none."""
    if not len(right):
        raise ValueError("a share of nothing is undefined")
    return float(np.mean(right))


def majority_accuracy(targets: Array, seen: Array | None = None, count: int = 1) -> float:
    """Accuracy of the `count` most frequent `seen` labels (else the targets') as a constant top-k guess."""
    usual = most_frequent(targets if seen is None else seen, count)
    return float(np.isin(np.asarray(targets), usual).mean())


def chance_of_classes(count: int) -> dict[str, float]:
    """Expected metrics of classes drawn uniformly."""
    return {"accuracy": 1 / count, "mean_per_class": 1 / count, "top5": min(TOP, count) / count}


def in_top_k(scores: Array, targets: Array, k: int) -> NDArray[np.bool_]:
    """[N] bool: the target [N] (-1: never) is among the `k` best scores [N, C]; ties count as higher."""
    scores, targets = np.asarray(scores), np.asarray(targets)
    known = targets >= 0
    own = scores[np.arange(len(targets)), np.where(known, targets, 0)]
    higher = (scores >= own[:, None]).sum(axis=1) - 1
    return known & (higher < k)


def mean_class_accuracy(predictions: Array, targets: Array) -> float:
    """Balanced accuracy: the mean over the classes that occur in the targets."""
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    _, codes = np.unique(targets, return_inverse=True)
    right = np.bincount(codes, weights=predictions == targets)
    return float((right / np.bincount(codes)).mean())


def confusion_matrix(
    truth: Sequence[str], predicted: Sequence[str], names: Sequence[str]
) -> NDArray[np.int64]:
    """[C, C] counts: true class (first axis) by predicted class (second axis)."""
    places = {name: place for place, name in enumerate(names)}
    counts = np.zeros((len(names), len(names)), dtype=np.int64)
    for true, guess in zip(truth, predicted, strict=True):
        counts[places[true], places[guess]] += 1
    return counts


def precision_recall_f1(matrix: NDArray[np.int64]) -> NDArray[np.float64]:
    """[C, 3] of each class; 0 where undefined."""
    return shares_of(np.diag(matrix), matrix.sum(axis=0), matrix.sum(axis=1))


def shares_of(right: Array, found: Array, there: Array) -> NDArray[np.float64]:
    """[C, 3] precision, recall and F1 of [C] counts: rightly found, found, and there."""
    parts = ((right, found), (right, there), (2 * right, found + there))
    return np.stack([np.divide(a, b, out=np.zeros(len(a)), where=b > 0) for a, b in parts], axis=1)


def area_under_roc(scores: NDArray[np.float64], positive: NDArray[np.bool_]) -> float:
    """Area under the ROC curve of [N] scores, ties counted half; 0.5 without positives or negatives."""
    from scipy.stats import rankdata

    count, others = int(positive.sum()), int((~positive).sum())
    if not count or not others:
        return 0.5
    ranks = rankdata(scores)
    return float((ranks[positive].sum() - count * (count + 1) / 2) / (count * others))


def listed_accuracy(truth: Sequence[str], listed: Sequence[Sequence[str]]) -> float:
    """Share of rows whose class is on the row's list, such as the five likeliest."""
    return share([label in own for label, own in zip(truth, listed, strict=True)])


def f1(predictions: NDArray[np.bool_], targets: NDArray[np.bool_]) -> float:
    """F1 of arrays of one shape (of [N, C] that over all labels of all rows); 0 where nothing is positive."""
    right, positives = int((predictions & targets).sum()), int(predictions.sum() + targets.sum())
    return 2 * right / positives if positives else 0.0


def matthews(predictions: Array, targets: Array) -> float:
    """Matthews' correlation of any number of classes (Gorodkin, 2004); 0 where one side is constant."""
    predictions, targets = _same_length(predictions, targets)
    _, numbers = np.unique(np.concatenate([predictions, targets]), return_inverse=True)
    given, true = numbers[: len(predictions)], numbers[len(predictions) :]
    count = int(numbers.max()) + 1
    # Python's whole numbers, which are exact: the products of a million rows exceed a float's digits.
    of_given = [int(n) for n in np.bincount(given, minlength=count)]
    of_true = [int(n) for n in np.bincount(true, minlength=count)]
    total, right = len(given), int((given == true).sum())
    covariance = right * total - sum(p * t for p, t in zip(of_given, of_true, strict=True))
    spread = (total**2 - sum(p * p for p in of_given)) * (total**2 - sum(t * t for t in of_true))
    return covariance / spread**0.5 if spread else 0.0


def pearson(predictions: Array, targets: Array) -> float:
    """Pearson's correlation, through SciPy; 0 where one side is constant, where it is undefined."""
    from scipy.stats import pearsonr

    predictions, targets = _same_length(predictions, targets)
    if len(predictions) < 2:
        return 0.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant input
        value = float(pearsonr(predictions, targets).statistic)  # pyright: ignore
    return value if np.isfinite(value) else 0.0


def spearman(predictions: Array, targets: Array) -> float:
    """Spearman's rank correlation: Pearson's of the ranks, of which equal values share one."""
    from scipy.stats import rankdata

    return pearson(rankdata(predictions), rankdata(targets))


def _same_length(predictions: Array, targets: Array) -> tuple[Array, Array]:
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    if predictions.shape != targets.shape or predictions.ndim != 1:
        raise ValueError(
            f"predictions {predictions.shape} and targets {targets.shape} are not two equal rows"
        )
    if not targets.size:
        raise ValueError("a metric of nothing is undefined")
    return predictions, targets


def value_scores(predictions: Array, targets: Array) -> dict[str, float]:
    """Pearson's and Spearman's correlation and the variance explained (0 of equal targets) of [N] values."""
    found = {"pearson": pearson(predictions, targets), "spearman": spearman(predictions, targets)}
    predictions, targets = _same_length(predictions, targets)
    spread, left = (float((off**2).sum()) for off in (targets - targets.mean(), targets - predictions))
    return found | {"r2": 1 - left / spread if spread else 0.0}


@dataclass(frozen=True)
class ClassPrediction:
    """Likeliest class, probabilities of all classes in the order of the labels, and the `TOP` likeliest."""

    label: str
    probabilities: tuple[float, ...]
    best: tuple[str, ...] = ()


def with_unknown(names: Sequence[str], truth: Sequence[str]) -> tuple[str, ...]:
    """The names, then true classes that the model does not know."""
    return (*names, *sorted(set(truth) - set(names)))


def class_metrics(
    truth: Sequence[str], predicted: Sequence[ClassPrediction], names: Sequence[str]
) -> dict[str, float]:
    """Accuracy, Matthews' correlation, macro F1; AUROC of the second of two classes; top-5 of ten or more.

    Unknown classes are always missed.
    """
    labels, everything = [choice.label for choice in predicted], with_unknown(names, truth)
    # Numbers, as an array of texts has each as wide as the longest.
    numbers = {name: number for number, name in enumerate(everything)}
    guessed, true = (np.array([numbers[label] for label in own]) for own in (labels, truth))
    matrix = confusion_matrix(truth, labels, everything)
    occurs = (matrix.sum(axis=0) + matrix.sum(axis=1)) > 0  # truly or predicted
    scores = {
        "accuracy": share(guessed == true),
        "f1_macro": float(precision_recall_f1(matrix)[occurs, 2].mean()),
        "mcc": matthews(guessed, true),
    }
    if len(names) >= FEWEST_FOR_TOP:
        scores["top5"] = listed_accuracy(truth, [one.best for one in predicted])
    if len(names) == 2:
        second = np.array([label == names[1] for label in truth])
        scores["auroc"] = area_under_roc(np.array([one.probabilities[1] for one in predicted]), second)
    return scores


def class_hits(truth: Sequence[str], predicted: Sequence[ClassPrediction]) -> NDArray[np.float64]:
    """[R] 1.0 where the class is right."""
    return np.array([float(true == one.label) for true, one in zip(truth, predicted, strict=True)])


Scores = Mapping[str, float]


def mean_scores(scored: Sequence[Scores]) -> dict[str, float]:
    """Mean of each metric over those that have it."""
    values: dict[str, list[float]] = {}
    for one in scored:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean(found)) for name, found in values.items()}
