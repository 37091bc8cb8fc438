"""The mixture and its orders: exact shares, whole epochs, and a pure function of (seed, position)."""

import pickle
from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.data.builder import rank_share
from xfm.data.mixture import BLOCK, Mixture, RunOrder, apportion, shuffled
from xfm.data.rng import mix, sample_generator


@given(st.lists(st.floats(1e-6, 1e6), min_size=1, max_size=30), st.integers(50, 20_000))
def test_apportion(weights, places):
    quotas = apportion(weights, places)
    assert sum(quotas) == places
    assert min(quotas) >= 1
    shares = np.array(weights) / sum(weights) * places
    if shares.min() >= 1:
        assert (np.abs(quotas - shares) < 1).all()


@settings(max_examples=5)
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


@settings(max_examples=30)
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


# ------------------------------------------------------------------ orders
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


@settings(max_examples=80)
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


# ------------------------------------------------------------------ shares
@given(st.integers(0, 200), st.integers(1, 5), st.integers(1, 40))
def test_shares_are_the_batch_in_order_and_groups_stay_whole(groups, group, world):
    shares = [rank_share(groups * group, group, rank, world) for rank in range(world)]
    assert [sample for share in shares for sample in share] == list(range(groups * group))
    assert all(share.start % group == share.stop % group == 0 for share in shares)
    sizes = [len(share) // group for share in shares]
    assert max(sizes) - min(sizes) <= 1
    if groups >= world:
        assert min(sizes) >= 1


# ------------------------------------------------------------------ generators
numbers = st.integers(0, 2**63)


@given(numbers, st.integers(0, 3), numbers)
def test_a_sample_has_a_philox_of_its_own_key(seed, stream, position):
    key = np.array([mix(seed, stream), position], dtype=np.uint64)
    expected = np.random.Generator(np.random.Philox(key=key))
    found = sample_generator(seed, stream, position)
    again = pickle.loads(pickle.dumps(found))
    draws = [one.random(9).tolist() + one.permutation(9).tolist() for one in (expected, found, again)]
    assert draws[0] == draws[1] == draws[2]
