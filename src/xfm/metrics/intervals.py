"""Confidence intervals: the bootstrap over groups of rows, and Wilson's where rows are independent shares.

Rows that are not independent (of one picture, one object, one quadruple of texts) are drawn together.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Interval:
    """An estimate with its confidence interval."""

    value: float
    low: float
    high: float


RESAMPLES = 1000
"""Of means of rows."""
MANY, FEWEST, SCORED = 300, 50, 1_500_000
"""Of metrics that are none: most and fewest resamples, and the rows that are scored for them in all."""

FEWEST_DIFFERENT = 6
"""Groups that must differ between two systems before anything can be shown: with fewer, even a sign test in
which all of them agree has p > 0.05, while the bootstrap of so few is too narrow."""

Floats = NDArray[np.float64]
Metric = Callable[[NDArray[np.int64]], float]
"""A metric of the rows at some places."""


def row_groups(pictures: Sequence[Hashable | None]) -> NDArray[np.int64]:
    """[N] number of each row's group, from what rows share; None shares nothing.

    Where one group has more than half of the rows, every row is one of its own: there would be nothing to
    draw from.
    """
    numbers: dict[Hashable, int] = {}
    keys = [("row", place) if one is None else ("shared", one) for place, one in enumerate(pictures)]
    groups = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    if len(groups) > 1 and max(Counter(groups.tolist()).values()) > len(groups) / 2:
        return np.arange(len(groups))
    return groups


def draws(groups: NDArray[np.int64], count: int = RESAMPLES, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """How often each row is in a resample, [N] ints: as many groups as there are, drawn with replacement."""
    rng, size = np.random.default_rng(seed), int(groups.max()) + 1
    for _ in range(count):
        yield np.bincount(rng.integers(size, size=size), minlength=size)[groups]


def resampled_means(values: Floats, groups: NDArray[np.int64], seed: int = 0) -> Floats:
    """Means of the columns of [N, S] values in each resample, [B, S]."""
    sizes = np.bincount(groups)  # [G], and the sums of each group [G, S]: what a mean needs of it
    sums = np.stack([np.bincount(groups, weights=column) for column in values.T], axis=1)
    everyone = np.arange(len(sizes))
    return np.array([(drawn @ sums) / (drawn @ sizes) for drawn in draws(everyone, seed=seed)])


def resampled(
    metric: Callable[[NDArray[np.int64]], Sequence[float]], groups: NDArray[np.int64], count: int, seed: int
) -> Floats:
    """A metric of several systems in each resample, [B, S].

    Args:
        metric: takes the places of the rows of a resample, each as often as it was drawn.
        groups: [N] of the rows.
        count: resamples.
        seed: of the draws.
    """
    places = np.arange(len(groups))
    return np.array([metric(np.repeat(places, drawn)) for drawn in draws(groups, count, seed)])


def percentiles(value: float, samples: Floats) -> Interval:
    """The 95 % interval that [B] resampled values give; it holds the value, even where rows are very few."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def mean_interval(values: Floats, samples: Floats, groups: NDArray[np.int64]) -> Interval:
    """The 95 % interval of a mean of rows.

    Wilson's, where rows are independent and right or wrong, and where all are alike (resamples of equal rows
    are all equal, which would look like certainty); else the bootstrap's.

    Args:
        values: [N] from 0 to 1.
        samples: [B] their means in resamples.
        groups: [N] of the rows.
    """
    value, size = float(values.mean()), int(groups.max()) + 1
    alone, simple = size == len(groups), bool(np.isin(values, (0.0, 1.0)).all())
    if 0 <= value <= 1 and ((alone and simple) or np.ptp(values) == 0):
        return wilson_interval(value, size)
    return percentiles(value, samples)


def bootstrap(rows: Floats | Metric, groups: NDArray[np.int64], seed: int = 0) -> Interval:
    """A score with its 95 % interval: what every number of a report is made of.

    Args:
        rows: [N] what each row adds to a mean, NaN for rows that do not count; or a metric that is no mean
            (AUROC, F1), which takes the places of the rows of a resample, each as often as it was drawn.
        groups: [N] of the rows, see `row_groups`.
        seed: of the resamples, which are the same for all metrics of the same groups.

    Raises:
        ValueError: there is no row.
    """
    if not len(groups):
        raise ValueError("the bootstrap needs at least one row")
    if not isinstance(rows, np.ndarray):
        samples = resampled(lambda places: [rows(places)], groups, resamples(len(groups)), seed)
        return percentiles(float(rows(np.arange(len(groups)))), samples[:, 0])
    counts = ~np.isnan(rows)
    values, own = rows[counts], np.unique(groups[counts], return_inverse=True)[1]
    return mean_interval(values, resampled_means(values[:, None], own, seed)[:, 0], own)


def resamples(rows: int) -> int:
    """How many resamples a metric that is no mean of rows gets; fewer of many rows, which it scores anew."""
    return max(FEWEST, min(MANY, SCORED // rows))


def too_many(rows: int) -> bool:
    """Whether even the fewest resamples of a metric that is no mean would score more rows than `SCORED`."""
    return SCORED // rows < FEWEST


def differ(first: Floats, second: Floats, groups: NDArray[np.int64]) -> int:
    """In how many groups the rows of two systems do not have the same sum."""
    gains = np.bincount(groups, weights=first - second)
    return int((np.abs(gains) > 1e-12).sum())


def wilson_interval(value: float, n: int) -> Interval:
    """The 95 % Wilson score interval of a proportion.

    Args:
        value: observed share, in [0, 1].
        n: number of independent trials, positive.
    """
    z = 1.959963984540054  # the normal quantile
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return Interval(value, min(value, max(0.0, centre - half)), max(value, min(1.0, centre + half)))
