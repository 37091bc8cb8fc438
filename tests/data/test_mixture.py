"""The mixture: exact shares, whole epochs, and a pure function of (seed, position)."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.data.mixture import BLOCK, Mixture, apportion, shuffled


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
