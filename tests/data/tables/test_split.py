"""Splits: every row once, groups whole, classes alike, the same for the same seed."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.data.tables import split_rows

rows = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), min_size=1, max_size=120)
SHARES = {"valid": 0.15, "test": 0.15}


@settings(deadline=None)
@given(rows, st.integers(0, 5))
def test_every_row_once_and_groups_whole(rows: list[tuple[int, int]], seed: int) -> None:
    groups, strata = zip(*rows, strict=True)
    parts = split_rows(groups, strata, SHARES, seed)
    assert sorted(row for part in parts.values() for row in part) == list(range(len(rows)))
    for one in parts.values():
        for other in parts.values():
            if one is not other:
                assert not {groups[row] for row in one} & {groups[row] for row in other}
    assert parts == split_rows(groups, strata, SHARES, seed)
    first = {group: strata[groups.index(group)] for group in groups}
    assert {first[groups[row]] for row in parts["rest"]} == set(first.values())


@settings(deadline=None)
@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 5))
def test_classes_are_alike(sizes: list[int], seed: int) -> None:
    """A class takes its share, rounded, and what smaller classes before it could not give to both parts."""
    strata = [name for name, size in enumerate(sizes) for _ in range(size)]
    parts = split_rows(range(len(strata)), strata, SHARES, seed)
    owed = 0.15 * sum(size for size in sizes if size < 4)
    for name in SHARES:
        counts = Counter(strata[row] for row in parts[name])
        for stratum, size in enumerate(sizes):
            assert abs(counts[stratum] - 0.15 * size) <= 1.01 + owed
        assert abs(sum(counts.values()) - 0.15 * len(strata)) <= 0.51 + owed


def test_another_seed_is_another_split() -> None:
    parts = [split_rows(range(100), [0] * 100, SHARES, seed)["test"] for seed in (0, 1)]
    assert parts[0] != parts[1]


@pytest.mark.parametrize("size", [1, 2])
def test_the_rest_is_never_empty(size: int) -> None:
    parts = split_rows(range(size), [0] * size, {"valid": 0.4, "test": 0.4}, 0)
    assert parts["rest"]
