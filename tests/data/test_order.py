"""Orders are permutations without memory; in runs, few are under way at a time."""

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.data.mixture import RunOrder, shuffled


@settings(max_examples=60)
@given(st.integers(1, 500), st.integers(0, 2**64 - 1))
def test_shuffled_is_a_permutation(size, key):
    assert sorted(shuffled(rank, size, key) for rank in range(size)) == list(range(size))


def test_shuffled_is_uniform():
    """Every record comes first, last or beside another as often as any other (chi-square of 20 records)."""
    size, trials = 20, 3000
    orders = np.array([[shuffled(r, size, key) for r in range(size)] for key in range(trials)])
    expected = trials / size
    for place in (0, 7, size - 1):
        counts = np.bincount(orders[:, place], minlength=size)
        assert ((counts - expected) ** 2 / expected).sum() < 45  # 99.9 % of chi-square with 19 degrees
    steps = Counter(((orders[:, 1] - orders[:, 0]) % size).tolist())
    assert len(steps) == size - 1
    assert max(steps.values()) / min(steps.values()) < 1.6


def test_shuffled_handles_huge_corpora():
    size = 1_300_000_000
    places = {shuffled(rank, size, 3) for rank in range(2000)}
    assert len(places) == 2000
    assert 0 <= min(places) < max(places) < size


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 400), st.integers(1, 50), st.integers(1, 8), st.integers(0, 2**64 - 1))
def test_runs_are_a_permutation_of_which_few_are_under_way(size, length, window, key):
    runs = RunOrder(length, window)
    order = [runs.shuffled(rank, size, key) for rank in range(size)]
    assert sorted(order) == list(range(size))
    visits: dict[int, list[int]] = {}
    for place, thing in enumerate(order):
        assert thing in runs.around(thing, size)
        visits.setdefault(thing // length, []).append(place)
    under_way = np.zeros(size + 1, int)
    for places in visits.values():
        under_way[places[0]] += 1
        under_way[places[-1] + 1] -= 1
    assert np.cumsum(under_way).max() <= window


def test_runs_are_shuffled_within_and_among_each_other():
    """Every thing comes to every place of a window, and every run to every window, the short one too."""
    runs, size = RunOrder(4, 2), 22
    orders = np.array([[runs.shuffled(rank, size, key) for rank in range(size)] for key in range(1500)])
    firsts = np.bincount(orders[:, 0], minlength=size)
    expected = np.full(size, 1500 / size)
    assert ((firsts - expected) ** 2 / expected).sum() < 3 * size  # the short run's two a bit oftener
    assert len({tuple(order) for order in orders[:500]}) == 500
    beside = (np.abs(np.diff(orders, axis=1)) == 1).mean()
    assert beside < 0.3


def test_runs_of_huge_corpora_take_no_memory():
    runs, size = RunOrder(1000, 16), 1_300_000_007
    places = [runs.shuffled(rank, size, 3) for rank in range(16_000)]
    assert len(set(places)) == 16_000
    assert len({place // 1000 for place in places}) in (16, 17)
    assert 0 <= min(places) < max(places) < size
