"""Metrics of classification, as image benchmarks report them."""

import numpy as np

from xfm.evaluation.metrics import Array


def top_k_accuracy(scores: Array, targets: Array, k: int) -> float:
    """Share of rows whose class is among the `k` of highest score.

    A class that ties with the row's own counts as higher, so that constant scores earn nothing.

    Args:
        scores: [N, C] float.
        targets: [N] int from 0 to C - 1; -1 for a class that the scores do not have, which is never right.
        k: length of the list.
    """
    scores, targets = np.asarray(scores), np.asarray(targets)
    known = targets >= 0
    own = scores[np.arange(len(targets)), np.where(known, targets, 0)]
    higher = (scores >= own[:, None]).sum(axis=1) - 1
    return float((known & (higher < k)).mean())


def mean_class_accuracy(predictions: Array, targets: Array) -> float:
    """Accuracy of every class that occurs among the targets, averaged (balanced accuracy).

    Args:
        predictions, targets: [N] of any kind.
    """
    predictions, targets = np.asarray(predictions), np.asarray(targets)
    _, codes = np.unique(targets, return_inverse=True)
    right = np.bincount(codes, weights=predictions == targets)
    return float((right / np.bincount(codes)).mean())
