"""Metrics of rows with any number of labels, as pure functions of arrays: truth and guesses [N, C] bool.

Shares are fractions from 0 to 1.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfm.metrics.classification import Array, f1, shares_of

Flags = NDArray[np.bool_]
SMALLEST = 1e-9
"""Threshold at least: 0 would give labels that a model rules out."""


@dataclass(frozen=True)
class LabelSet:
    """Predicted labels of a row, and probabilities of all labels, in the order of the names."""

    labels: tuple[str, ...]
    probabilities: tuple[float, ...]


def label_flags(rows: Sequence[Sequence[str]], names: Sequence[str]) -> Flags:
    """[N, C] bool, whether a row has each label; unknown labels are skipped."""
    places = {name: place for place, name in enumerate(names)}
    found = np.zeros((len(rows), len(names)), dtype=bool)
    pairs = [(row, places[name]) for row, own in enumerate(rows) for name in own if name in places]
    if pairs:
        found[tuple(np.array(pairs).T)] = True
    return found


def precision_recall_f1_of_labels(truth: Flags, given: Flags) -> NDArray[np.float64]:
    """[C, 3] of each label; 0 where undefined."""
    return shares_of((truth & given).sum(axis=0), given.sum(axis=0), truth.sum(axis=0))


def average_precision(scores: Array, positive: Flags) -> float:
    """Average precision of [N] scores; equal scores are listed together; 0 without positives."""
    own = np.sort(scores[positive])
    if not len(own):
        return 0.0
    every = np.sort(scores)
    # Those that score at least as high as each positive: among the positives, and among all.
    found = len(own) - np.searchsorted(own, own, side="left")
    listed = len(every) - np.searchsorted(every, own, side="left")
    return float((found / listed).mean())


def exact_matches(truth: Flags, given: Flags) -> NDArray[np.float64]:
    """[N] 1.0 where all labels of a row are right."""
    return (truth == given).all(axis=1).astype(np.float64)


def best_threshold(scores: Array, truth: Flags, otherwise: float) -> float:
    """The threshold on [N, C] probabilities with the best micro-F1, midway between two scores; ties: largest.

    `otherwise` where no row has a label.
    """
    if not truth.any():
        return otherwise
    order = np.argsort(-scores, axis=None, kind="stable")
    ranked, right = scores.ravel()[order].astype(np.float64), np.cumsum(truth.ravel()[order])
    scored = 2 * right / (np.arange(1, len(ranked) + 1) + truth.sum())
    below = np.append(ranked[1:], 0.0)
    scored[ranked == below] = -1.0  # no threshold parts equal scores
    best = int(np.argmax(scored))
    return max(SMALLEST, float(ranked[best] + below[best]) / 2)


def label_metrics(truth: Flags, given: Flags, scores: Array) -> dict[str, float]:
    """Micro- and macro-F1, mean average precision, and exact match, of [N, C] bool and scores."""
    there = truth.any(axis=0)
    each = precision_recall_f1_of_labels(truth, given)[there | given.any(axis=0), 2]
    precisions = [average_precision(scores[:, at], truth[:, at]) for at in np.flatnonzero(there)]
    return {
        "f1_micro": f1(truth, given),
        "f1_macro": float(each.mean()) if len(each) else 0.0,
        "mean_ap": float(np.mean(precisions)) if precisions else 0.0,
        "exact_match": float(exact_matches(truth, given).mean()),
    }
