"""What every store must do."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest

from tests.alike import thorough
from tests.index.conftest import WIDTH, holds, rows_of, unit
from xfm.search.filters import Condition, Relation, kind_of
from xfm.search.store import Row

CONDITIONS = [
    [Condition("even", Relation.EQUAL, (True,))],
    [Condition("number", Relation.LESS, (7.0,))],
    [Condition("number", Relation.AT_LEAST, (30.0,)), Condition("even", Relation.OTHER, (True,))],
    [Condition("name", Relation.EQUAL, ("it's 2", "it's 5"))],
    [Condition("name", Relation.OTHER, ("it's 2", "' OR 1=1 --"))],
    [Condition("name", Relation.MORE, ("it's 3",))],
    [Condition("number", Relation.MORE, (1e9,))],
]


def filled(store: Any, rows: Sequence[Row], replacing: bool = False) -> Any:
    store.require({name: kind_of(value) for row in rows for name, value in row.entry.metadata.items()})
    store.add(rows, replacing)
    return store


def expected(rows: Sequence[Row], query: np.ndarray, count: int, where: Sequence[Condition]) -> list[str]:
    passing = [row for row in rows if all(holds(one, row.entry.metadata) for one in where)]
    return [row.entry.key for row in sorted(passing, key=lambda row: -float(row.vector @ query))[:count]]


def test_the_nearest_that_pass_are_found_in_order(store):
    rng = np.random.default_rng(0)
    rows = rows_of(unit(rng, 60))
    filled(store, rows)
    for where in ([], *CONDITIONS):
        for query, count in zip(unit(rng, 3), (1, 10, 100), strict=True):
            found = store.nearest(query, count, where)
            assert [one.entry.key for one in found] == expected(rows, query, count, where)
            by_key = {row.entry.key: row for row in rows}
            for one in found:
                row = by_key[one.entry.key]
                assert one.similarity == pytest.approx(float(row.vector @ query), abs=1e-5)
                assert one.entry.metadata == row.entry.metadata
                assert (one.entry.source, one.entry.width, one.entry.height) == (row.entry.source, 4, 3)
        passing = expected(rows, rows[0].vector, 100, where)
        assert store.count(where) == len(passing)
        assert sorted(store.keys(where)) == sorted(passing)
        entries, vectors = store.vectors(where)
        assert {one.key: one.metadata for one in entries} == {
            key: by_key[key].entry.metadata for key in passing
        }
        rows_there = [by_key[one.key].vector for one in entries]
        assert vectors == pytest.approx(np.reshape(rows_there, (-1, WIDTH)), abs=1e-6)


def test_rows_are_replaced_removed_and_kept(new_store: Callable[[], Any]):
    rng = np.random.default_rng(1)
    vectors = unit(rng, 20)
    rows = rows_of(vectors)
    store = filled(new_store(), rows)
    other = rows_of(unit(rng, 5))
    filled(store, [*other, *rows_of(unit(rng, 2), first=20)], replacing=True)
    assert store.count() == 22
    assert store.nearest(other[3].vector, 1)[0].entry.key == "k3"
    store.remove(["k3", "k4", "nothing", "o'k"])
    store.remove([])
    assert store.count() == 20
    assert "k3" not in set(store.keys())
    assert store.pixels(["k0", "k21", "k3"]) == {"k0": b"\0", "k21": b"\x15"}
    assert store.pixels([]) == {}
    again = new_store()
    assert again.count() == 20
    assert again.nearest(vectors[10], 1)[0].entry.key == "k10"
    store.compact()
    assert again.count() == store.stats().rows == 20
    assert again.nearest(vectors[11], 1)[0].entry.key == "k11"
    assert store.stats().bytes > 0
    assert "exact" in store.stats().search


def test_another_sees_what_was_added_after_it_had_opened(new_store: Callable[[], Any]):
    writer, reader = new_store(), new_store()
    rows = rows_of(unit(np.random.default_rng(2), 30))
    for start in range(0, 30, 10):
        filled(writer, rows[start : start + 10])
        assert reader.count() == start + 10
        assert reader.nearest(rows[start].vector, 1)[0].entry.key == f"k{start}"
    writer.compact()
    assert reader.count() == 30


def test_fields_may_come_later(store):
    vectors = unit(np.random.default_rng(3), 6)
    filled(store, rows_of(vectors[:3]))
    filled(store, rows_of(vectors[3:], first=3, Colour="red"))
    where = [Condition("Colour", Relation.EQUAL, ("red",))]
    assert sorted(store.keys(where)) == ["k3", "k4", "k5"]
    assert store.count([Condition("Colour", Relation.OTHER, ("blue",))]) == 3
    assert "Colour" not in store.nearest(vectors[0], 1)[0].entry.metadata


@thorough
def test_an_index_finds_them_too_and_conditions_still_give_as_many(store, monkeypatch):
    module = __import__(type(store).__module__, fromlist=["EXACT_BELOW"])
    monkeypatch.setattr(module, "EXACT_BELOW", 2000)
    rng = np.random.default_rng(4)
    rows = rows_of(unit(rng, 3000))
    filled(store, rows)
    store.compact()
    assert "index" in store.stats().search
    queries = unit(rng, 20)
    hits = [
        len({one.entry.key for one in store.nearest(query, 10)} & {*expected(rows, query, 10, [])})
        for query in queries
    ]
    assert np.mean(hits) >= 9.5
    rare = [Condition("number", Relation.LESS, (30.0,))]  # one in a hundred
    for query in queries[:5]:
        assert [one.entry.key for one in store.nearest(query, 10, rare)] == expected(rows, query, 10, rare)
    more = rows_of(unit(rng, 10), first=3000)
    filled(store, more)  # beyond the index
    assert store.nearest(more[4].vector, 1)[0].entry.key == "k3004"
