"""Metrics as pure functions of arrays. Scores are fractions from 0 to 1."""

from dataclasses import dataclass
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float


def accuracy(predictions: Array, targets: Array) -> float:
    """Share of equal entries of two [N] arrays of any kind.

    Raises:
        ValueError: the shapes differ or there is no entry.
    """
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    if predictions.shape != targets.shape:
        raise ValueError(f"predictions {predictions.shape} and targets {targets.shape} differ in shape")
    if targets.size == 0:
        raise ValueError("accuracy of nothing is undefined")
    return float((predictions == targets).mean())


def ranks_of_best_positive(scores: Array, positives: Array) -> NDArray[np.int64]:
    """How many negatives are scored at least as high as each query's best positive.

    A tie counts against the query, so that a model that scores everything alike is not rewarded.

    Args:
        scores: [Q, C] float, higher is better.
        positives: [Q, C] bool, at least one True in each row.

    Returns:
        [Q] int64 ranks from 0 (best) to C - 1.

    Raises:
        ValueError: the shapes differ or a query has no positive.
    """
    scores, positives = np.asarray(scores), np.asarray(positives, dtype=bool)
    if scores.shape != positives.shape:
        raise ValueError(f"scores {scores.shape} and positives {positives.shape} differ in shape")
    if not positives.any(axis=1).all():
        raise ValueError("every query needs a positive candidate")
    best = np.where(positives, scores, -np.inf).max(axis=1, keepdims=True)  # [Q, 1]
    return ((scores >= best) & ~positives).sum(axis=1).astype(np.int64)


def recall_at(ranks: Array, k: int) -> float:
    """Share of the queries with a positive among the first `k` candidates.

    Args:
        ranks: [Q] int ranks of the best positive, from 0.
        k: length of the list that is looked at.
    """
    return float((np.asarray(ranks) < k).mean())


def chance_recall_at(positives: Array, k: int) -> float:
    """Expected recall at `k` of a random order of the candidates.

    Args:
        positives: [Q, C] bool.
        k: length of the list.

    Returns:
        The mean over queries of 1 - P(no positive among k of C drawn without replacement).
    """
    positives = np.asarray(positives, dtype=bool)
    return chance_recall(positives.sum(axis=1), positives.shape[1], k)


def chance_recall(counts: Array, candidates: int, k: int) -> float:
    """`chance_recall_at` from the number of positives of each query.

    Args:
        counts: [Q] int positives of each query.
        candidates: C, of every query.
        k: length of the list.
    """
    negatives = candidates - np.asarray(counts)  # [Q]
    miss = np.ones(len(negatives))
    for draw in range(min(k, candidates)):
        miss *= np.clip(negatives - draw, 0, None) / (candidates - draw)
    return float((1.0 - miss).mean())


def paired_iou(first: Array, second: Array) -> NDArray[np.float64]:
    """Intersection over union of boxes row by row.

    Args:
        first, second: [N, 4] (left, top, right, bottom) in any one unit.

    Returns:
        [N] values in [0, 1]; 0 where both boxes are empty.
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    corner = np.maximum(first[:, :2], second[:, :2])
    opposite = np.minimum(first[:, 2:], second[:, 2:])
    overlap = np.clip(opposite - corner, 0, None).prod(axis=1)
    union = _areas(first) + _areas(second) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def iou_matrix(first: Array, second: Array) -> NDArray[np.float64]:
    """Intersection over union of every box of one set with every box of the other.

    Args:
        first: [N, 4] (left, top, right, bottom).
        second: [M, 4] likewise, in the same unit.

    Returns:
        [N, M] values in [0, 1].
    """
    first, second = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    corner = np.maximum(first[:, None, :2], second[None, :, :2])  # [N, M, 2]
    opposite = np.minimum(first[:, None, 2:], second[None, :, 2:])
    overlap = np.clip(opposite - corner, 0, None).prod(axis=2)
    union = _areas(first)[:, None] + _areas(second)[None, :] - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def accuracy_at_iou(predicted: Array, true: Array, threshold: float = 0.5) -> float:
    """Share of predicted boxes whose IoU with the true one is at least `threshold`.

    RefCOCO's convention. Arguments as in `paired_iou`.
    """
    return float((paired_iou(predicted, true) >= threshold).mean())


def paired_bootstrap(
    gains: Array, resamples: int = 2000, seed: int = 0, confidence: float = 0.95
) -> Interval:
    """Percentile bootstrap interval of a mean of paired differences.

    Args:
        gains: [N] float, one difference per independent unit (both systems on the same unit).
        resamples: number of resamples with replacement.
        seed: seed of the resamples.
        confidence: coverage, in (0, 1).

    Returns:
        The mean and its interval.
    """
    gains = np.asarray(gains, dtype=np.float64)
    if gains.size == 0:
        raise ValueError("the bootstrap needs at least one unit")
    rng = np.random.default_rng(seed)
    means = np.array([gains[rng.integers(0, gains.size, gains.size)].mean() for _ in range(resamples)])
    tail = (1.0 - confidence) / 2
    low, high = np.quantile(means, [tail, 1.0 - tail])
    return Interval(float(gains.mean()), float(low), float(high))


def wilson_interval(value: float, n: int, z: float = 1.959963984540054) -> Interval:
    """Wilson score interval of a proportion (95 % unless told otherwise).

    Args:
        value: observed share, in [0, 1].
        n: number of independent trials, positive.
        z: normal quantile of the coverage.
    """
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return Interval(value, max(0.0, centre - half), min(1.0, centre + half))


def majority_accuracy(targets: Array) -> float:
    """Accuracy of always giving the most frequent target: the best that no information can do.

    Args:
        targets: [N] labels of any kind.
    """
    _, counts = np.unique(np.asarray(targets), return_counts=True)
    return float(counts.max() / counts.sum())


def _areas(boxes: Array) -> NDArray[np.float64]:
    """Areas [N] of [N, 4] corner boxes; 0 for inverted ones."""
    return np.clip(boxes[:, 2:] - boxes[:, :2], 0, None).prod(axis=1)
