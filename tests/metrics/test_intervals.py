"""Wilson's intervals and bootstraps against SciPy's, and where a bootstrap would look too certain."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap

from xfm.metrics.intervals import (
    differ,
    mean_interval,
    paired_bootstrap,
    percentiles,
    resampled,
    resampled_means,
    row_groups,
    wilson_interval,
)


def test_groups_are_rows_that_share() -> None:
    assert row_groups(["a", None, "a", "b", None, "c"]).tolist() == [0, 1, 0, 2, 3, 4]
    assert row_groups([None, None]).tolist() == [0, 1]
    shared_by_most = row_groups(["a", "a", "a", "b"])
    assert shared_by_most.tolist() == [0, 1, 2, 3]


def test_interval_of_a_mean_is_scipys() -> None:
    values = np.random.default_rng(0).random(80)
    groups = np.arange(80)
    found = mean_interval(values, resampled_means(values[:, None], groups)[:, 0], groups)
    reference = bootstrap((values,), np.mean, method="percentile", rng=1).confidence_interval
    assert found.low == pytest.approx(reference.low, abs=0.01)
    assert found.high == pytest.approx(reference.high, abs=0.01)


def test_rows_of_one_picture_are_drawn_together() -> None:
    """Ten pictures of twenty equal rows say as much as ten rows."""
    each = np.array([1.0, 0, 1, 1, 0, 1, 0, 0, 1, 0])
    values, groups = np.repeat(each, 20), np.repeat(np.arange(10), 20)
    found = mean_interval(values, resampled_means(values[:, None], groups)[:, 0], groups)
    reference = bootstrap((each,), np.mean, method="percentile", rng=1).confidence_interval
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.1)
    wilson = wilson_interval(0.5, 200)
    assert found.high - found.low > 2 * (wilson.high - wilson.low)


def test_equal_rows_are_no_certainty() -> None:
    values, groups = np.ones(12), np.repeat(np.arange(6), 2)
    found = mean_interval(values, resampled_means(values[:, None], groups)[:, 0], groups)
    assert found == wilson_interval(1.0, 6)


def test_shares_of_independent_rows_have_wilsons() -> None:
    values, groups = np.array([1.0, 0, 1, 1]), np.arange(4)
    assert mean_interval(values, resampled_means(values[:, None], groups)[:, 0], groups) == wilson_interval(
        0.75, 4
    )


def test_metrics_that_are_no_means() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=150)
    second = first + rng.normal(size=150)

    def correlation(places: np.ndarray) -> list[float]:
        return [float(np.corrcoef(first[places], second[places])[0, 1])]

    samples = resampled(correlation, np.arange(150), 500, 0)[:, 0]
    found = percentiles(float(np.corrcoef(first, second)[0, 1]), samples)
    reference = bootstrap(
        (first, second),
        lambda one, two: np.corrcoef(one, two)[0, 1],
        paired=True,
        vectorized=False,
        method="percentile",
        n_resamples=500,
        rng=1,
    ).confidence_interval
    assert (found.low, found.high) == pytest.approx((reference.low, reference.high), abs=0.03)


def test_differences_are_counted_by_group() -> None:
    groups = np.array([0, 0, 1, 2])
    assert differ(np.array([1.0, 0, 1, 0]), np.array([0.0, 1, 0, 0]), groups) == 1


def test_bootstrap_agrees_with_scipy() -> None:
    gains = np.random.default_rng(5).normal(0.2, 1.0, 300)
    found = paired_bootstrap(gains, resamples=4000, seed=1)
    reference = bootstrap(
        (gains,), np.mean, n_resamples=4000, method="percentile", rng=np.random.default_rng(2)
    ).confidence_interval
    assert found.value == pytest.approx(gains.mean())
    assert found.low == pytest.approx(reference.low, abs=0.015)
    assert found.high == pytest.approx(reference.high, abs=0.015)
    assert found == paired_bootstrap(gains, resamples=4000, seed=1)


def test_bootstrap_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one unit"):
        paired_bootstrap(np.array([]))


@given(st.integers(1, 500), st.floats(0, 1))
def test_wilson_interval_is_scipys(n: int, share: float) -> None:
    hits = round(share * n)
    found = wilson_interval(hits / n, n)
    reference = binomtest(hits, n).proportion_ci(method="wilson")
    assert found.low == pytest.approx(reference.low, abs=1e-9)
    assert found.high == pytest.approx(reference.high, abs=1e-9)
