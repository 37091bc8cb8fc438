"""Scores of several guesses, or of several splits, as one number a metric."""

from collections.abc import Mapping, Sequence

import numpy as np

Scores = Mapping[str, float]


def mean_scores(scored: Sequence[Scores]) -> dict[str, float]:
    """The mean of each metric, such as of random guesses: chance. Nothing of nothing."""
    return {name: float(np.mean(values)) for name, values in _by_metric(scored).items()}


def best_scores(scored: Sequence[Scores]) -> dict[str, float]:
    """The best of each metric, such as of constant guesses: a baseline. Nothing of nothing."""
    return {name: max(values) for name, values in _by_metric(scored).items()}


def _by_metric(scored: Sequence[Scores]) -> dict[str, list[float]]:
    return {name: [one[name] for one in scored] for name in (scored[0] if scored else ())}
