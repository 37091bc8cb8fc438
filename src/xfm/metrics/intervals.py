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

    If one group has more than half of the rows, every row is its own: there would be nothing to resample.
    """
    numbers: dict[Hashable, int] = {}
    keys = [("row", place) if one is None else ("shared", one) for place, one in enumerate(pictures)]
    groups = np.array([numbers.setdefault(key, len(numbers)) for key in keys], dtype=np.int64)
    if len(groups) > 1 and max(Counter(groups.tolist()).values()) > len(groups) / 2:
        return np.arange(len(groups))
    return groups


def draws(groups: NDArray[np.int64], count: int = RESAMPLES, seed: int = 0) -> Iterator[NDArray[np.int64]]:
    """[N] how often each row is in a resample of groups."""
    rng, size = np.random.default_rng(seed), int(groups.max()) + 1
    for _ in range(count):
        yield np.bincount(rng.integers(size, size=size), minlength=size)[groups]


def resampled_means(values: Floats, groups: NDArray[np.int64], seed: int = 0) -> Floats:
    """[B, S] means of the columns of [N, S] values in each resample."""
    sizes = np.bincount(groups)  # [G], and the sums of each group [G, S]: what a mean needs of it
    sums = np.stack([np.bincount(groups, weights=column) for column in values.T], axis=1)
    everyone = np.arange(len(sizes))
    return np.array([(drawn @ sums) / (drawn @ sizes) for drawn in draws(everyone, seed=seed)])


def resampled(
    metric: Callable[[NDArray[np.int64]], Sequence[float]], groups: NDArray[np.int64], count: int, seed: int
) -> Floats:
    """[B, S] a metric of several systems in each resample; it takes the places of the drawn rows."""
    places = np.arange(len(groups))
    return np.array([metric(np.repeat(places, drawn)) for drawn in draws(groups, count, seed)])


def percentiles(value: float, samples: Floats) -> Interval:
    """95 % interval of [B] resampled values; always contains the value."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return Interval(value, min(value, float(low)), max(value, float(high)))


def mean_interval(values: Floats, samples: Floats, groups: NDArray[np.int64]) -> Interval:
    """95 % interval of a mean of [N] values with [B] resampled means.

    Wilson's for independent rows that are right or wrong, and where all values are equal (all resamples would
    be, too); else the bootstrap's.
    """
    value, size = float(values.mean()), int(groups.max()) + 1
    alone, simple = size == len(groups), bool(np.isin(values, (0.0, 1.0)).all())
    if 0 <= value <= 1 and ((alone and simple) or np.ptp(values) == 0):
        return wilson_interval(value, size)
    return percentiles(value, samples)


def bootstrap(rows: Floats | Metric, groups: NDArray[np.int64], seed: int = 0) -> Interval:
    """A score with its 95 % interval by the bootstrap over groups [N], see `row_groups`.

    `rows` are [N] contributions to a mean (NaN does not count), or a metric that is no mean (AUROC, F1) as a
    function of the places of the drawn rows. ValueError without rows.
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
    """Number of resamples of a metric that is no mean; fewer of many rows, which it scores anew."""
    return max(FEWEST, min(MANY, SCORED // rows))


def differ(first: Floats, second: Floats, groups: NDArray[np.int64]) -> int:
    """Number of groups in which two systems have different sums."""
    gains = np.bincount(groups, weights=first - second)
    return int((np.abs(gains) > 1e-12).sum())


def wilson_interval(value: float, n: int) -> Interval:
    """The 95 % Wilson score interval of a share of `n` independent trials."""
    z = 1.959963984540054  # the normal quantile
    centre = (value + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * sqrt(value * (1 - value) / n + z * z / (4 * n * n))
    return Interval(value, min(value, max(0.0, centre - half)), max(value, min(1.0, centre + half)))
