"""Scores of several guesses, or of several splits, as one number a metric."""

from collections.abc import Mapping, Sequence

import numpy as np

Scores = Mapping[str, float]


def mean_scores(scored: Sequence[Scores]) -> dict[str, float]:
    """The mean of each metric over those that have it, such as of random guesses: chance."""
    values: dict[str, list[float]] = {}
    for one in scored:
        for name, value in one.items():
            values.setdefault(name, []).append(value)
    return {name: float(np.mean(found)) for name, found in values.items()}
