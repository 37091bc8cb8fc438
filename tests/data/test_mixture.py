"""The mixture: exact shares, whole epochs, and a pure function of (seed, position)."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.data.mixture import BLOCK, Mixture, RunOrder, apportion


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30), st.integers(50, 20_000))
def test_apportion(weights, places):
    quotas = apportion(weights, places)
    assert sum(quotas) == places
    assert min(quotas) >= 1
    shares = np.array(weights) / sum(weights) * places
    if shares.min() >= 1:
        assert (np.abs(quotas - shares) < 1).all()


@pytest.mark.parametrize("weights", [[], [1, 0], [1, -1]])
def test_bad_weights(weights):
    with pytest.raises(ValueError, match="positive"):
        apportion(weights)


@settings(max_examples=6)
@given(
    st.lists(st.tuples(st.integers(1, 300), st.floats(0.1, 10)), min_size=1, max_size=4),
    st.integers(0, 2**31),
)
def test_shares_and_epochs(corpora, seed):
    sizes, weights = [size for size, _ in corpora], [weight for _, weight in corpora]
    mixture = Mixture(sizes, weights, seed)
    places = [mixture.locate(position) for position in range(BLOCK)]
    counts = Counter(corpus for corpus, _ in places)
    assert [counts[c] for c in range(len(sizes))] == list(mixture.quotas)
    for corpus, size in enumerate(sizes):
        visited = [index for c, index in places if c == corpus]
        for start in range(0, len(visited) - size + 1, size):
            assert sorted(visited[start : start + size]) == list(range(size))


def test_epochs_go_on_across_blocks():
    mixture = Mixture([2 * BLOCK // 3, 7], [3, 1], 5)
    visited = [index for corpus, index in map(mixture.locate, range(2 * BLOCK)) if corpus == 0]
    size = mixture.sizes[0]
    assert sorted(visited[:size]) == list(range(size))
    assert sorted(visited[size : 2 * size]) == list(range(size))
    assert visited[:size] != visited[size : 2 * size]  # each epoch in its own order


def test_shares_hold_at_any_time():
    mixture = Mixture([100, 100, 100], [5, 3, 2], 1)
    counts = np.bincount([mixture.locate(position)[0] for position in range(1000)], minlength=3)
    assert counts / 1000 == pytest.approx([0.5, 0.3, 0.2], abs=0.06)


def test_pure_function_of_seed_and_position():
    positions = [0, 1, 999, BLOCK - 1, BLOCK, 12 * BLOCK + 5, 10**12]
    first = [Mixture([50, 70], [1, 2], 9).locate(position) for position in positions]
    again = [Mixture([50, 70], [1, 2], 9).locate(position) for position in reversed(positions)]
    assert first == again[::-1]
    other = [Mixture([50, 70], [1, 2], 10).locate(position) for position in range(100)]
    assert other != [Mixture([50, 70], [1, 2], 9).locate(position) for position in range(100)]


def test_empty_corpora_are_refused():
    with pytest.raises(ValueError, match="may be empty"):
        Mixture([3, 0], [1, 1], 0)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_runs_keep_groups_and_shares(data):
    """A corpus in runs beside one in any order: epochs stay whole, and groups stay together."""
    group = data.draw(st.integers(1, 4))
    size = group * data.draw(st.integers(1, 60))
    runs = RunOrder(data.draw(st.integers(1, 30)), data.draw(st.integers(1, 4)))
    mixture = Mixture([size, 40], [2, 1], data.draw(st.integers(0, 2**31)), [group, 1], [runs, None])
    visited = [index for corpus, index in map(mixture.locate, range(6 * size * group)) if corpus == 0]
    assert sorted(visited[:size]) == list(range(size))
    for start in range(0, size, group):
        first = visited[start]
        assert first % group == 0
        assert visited[start : start + group] == list(range(first, first + group))
        run = mixture.run(0, first)
        assert first in run
        assert len(run) <= max(group, runs.length)
    assert mixture.run(1, 3) is None
