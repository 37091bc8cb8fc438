"""Ranks and recalls of rankings, as pure functions of arrays."""

import numpy as np
from numpy.typing import NDArray

from xfm.metrics.classification import Array


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
