"""Wilson's intervals and bootstraps against SciPy's, and where a bootstrap would look too certain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from scipy.stats import bootstrap as scipy_bootstrap

from xfm.metrics.intervals import (
    Interval,
    bootstrap,
    mean_interval,
    percentiles,
    resampled,
    resampled_means,
    wilson_interval,
)


def interval_of(values: np.ndarray, groups: np.ndarray) -> Interval:
    return mean_interval(values, resampled_means(values[:, None], groups)[:, 0], groups)


def scipys(*samples: np.ndarray, statistic=np.mean, **options) -> tuple[float, float]:
    found = scipy_bootstrap(samples, statistic, method="percentile", rng=1, **options).confidence_interval
    return found.low, found.high


def test_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(0).random(80)
    found = interval_of(values, np.arange(80))
    assert (found.low, found.high) == pytest.approx(scipys(values), abs=0.01)


def test_rows_of_one_picture_are_drawn_together() -> None:
    """Ten pictures of twenty equal rows say as much as ten rows."""
    each = np.array([1.0, 0, 1, 1, 0, 1, 0, 0, 1, 0])
    found = interval_of(np.repeat(each, 20), np.repeat(np.arange(10), 20))
    assert (found.low, found.high) == pytest.approx(scipys(each), abs=0.1)
    wilson = wilson_interval(0.5, 200)
    assert found.high - found.low > 2 * (wilson.high - wilson.low)


@pytest.mark.parametrize(
    ("values", "groups", "expected"),
    [
        pytest.param([1.0] * 12, np.repeat(range(6), 2), (1.0, 6), id="equal rows are no certainty"),
        pytest.param([1.0, 0, 1, 1], range(4), (0.75, 4), id="independent rows"),
    ],
)
def test_where_wilsons_is_taken(values: list[float], groups, expected: tuple[float, int]) -> None:
    assert interval_of(np.array(values), np.array(groups)) == wilson_interval(*expected)


def test_metrics_that_are_no_means() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=150)
    second = first + rng.normal(size=150)

    def correlation(one: np.ndarray, two: np.ndarray) -> float:
        return float(np.corrcoef(one, two)[0, 1])

    samples = resampled(lambda rows: [correlation(first[rows], second[rows])], np.arange(150), 500, 0)[:, 0]
    found = percentiles(correlation(first, second), samples)
    options = {"paired": True, "vectorized": False, "n_resamples": 500}
    reference = scipys(first, second, statistic=correlation, **options)
    assert (found.low, found.high) == pytest.approx(reference, abs=0.03)


def test_bootstrap_agrees_with_scipy() -> None:
    """Rows of one group count as its mean where groups are of one size; NaN rows do not count."""
    gains = np.random.default_rng(5).normal(0.2, 1.0, 300)
    rows = np.concatenate([gains - 0.5, gains + 0.5, np.full(40, np.nan)])
    groups = np.concatenate([np.arange(300), np.arange(300), np.arange(300, 340)])
    found = bootstrap(rows, groups, seed=1)
    assert found.value == pytest.approx(gains.mean())
    assert (found.low, found.high) == pytest.approx(scipys(gains, n_resamples=4000), abs=0.02)
    assert found == bootstrap(rows, groups, seed=1)
    assert found != bootstrap(rows, groups, seed=2)


def test_bootstrap_of_a_metric_draws_groups() -> None:
    """Every row twice says no more than every row once."""
    values = np.random.default_rng(3).normal(size=200)
    twice, groups = np.tile(values, 2), np.tile(np.arange(200), 2)
    found = bootstrap(lambda places: float(np.median(twice[places])), groups, seed=0)
    alone = bootstrap(lambda places: float(np.median(twice[places])), np.arange(400), seed=0)
    reference = scipys(values, statistic=np.median, n_resamples=2000)
    assert (found.low, found.high) == pytest.approx(reference, abs=0.04)
    assert alone.high - alone.low < 0.85 * (found.high - found.low)


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_interval_is_scipys(n: int, share: float) -> None:
    hits = round(share * n)
    found = wilson_interval(hits / n, n)
    reference = binomtest(hits, n).proportion_ci(method="wilson")
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=1e-9)
