"""Counts are the same however the records are parted; examples are the worst ones."""

import pickle

from hypothesis import given
from hypothesis import strategies as st

from xfm.corpora.doctor.findings import EDGES, SHOWN, Distribution, Finding, Issue, Statistics

MOST = 3


def tallied(numbers: list[int], values: list[int]) -> Statistics:
    tally = Statistics()
    for number in numbers:
        value = values[number]
        tally.read += 1
        tally.measure("value", value)
        tally.labels[str(value % 3)] += 1
        tally.find(
            {Finding.SMALL: [Issue(Finding.SMALL, str(value), value)]} if value % 2 else {}, number, 0, MOST
        )
    return pickle.loads(pickle.dumps(tally))


@given(st.lists(st.integers(0, 50), min_size=1, max_size=80), st.data())
def test_parts_in_any_order_give_the_same(values: list[int], data: st.DataObject) -> None:
    numbers = data.draw(st.permutations(range(len(values))))
    edge = data.draw(st.integers(0, len(values)))
    whole, joined = Statistics(), Statistics()
    whole.join(tallied([*range(len(values))], values), MOST)
    for part in (numbers[edge:], numbers[:edge]):
        joined.join(tallied([*part], values), MOST)
    assert joined == whole
    worst = sorted((value for value in values if value % 2), reverse=True)[:MOST]
    assert [one.badness for one in whole.examples.get(Finding.SMALL, ())] == worst
    assert len(whole.examples[SHOWN]) == min(MOST, len(values))


def test_examples_that_are_equally_bad_are_drawn_by_lot() -> None:
    shown = [0] * 100
    for seed in range(600):
        tally = Statistics()
        for number in range(100):
            tally.find({}, number, seed, 5)
        joined = Statistics()
        joined.join(tally, 5)
        for one in joined.examples[SHOWN]:
            shown[one.number] += 1
    assert sum(shown) == 3000
    assert 10 < min(shown) <= max(shown) < 60  # 30 each, give or take


@given(st.lists(st.floats(0, 1e8), min_size=1, max_size=60))
def test_bins_hold_every_value(values: list[float]) -> None:
    spread = Distribution()
    for value in values:
        spread.add(value)
    assert (spread.count, spread.low, spread.high) == (len(values), min(values), max(values))
    assert sum(spread.by_edge().values()) == len(values)
    for place, count in spread.bins.items():
        beyond = EDGES[place + 1] if place + 1 < len(EDGES) else float("inf")
        assert count == sum(EDGES[place] <= value < beyond for value in values)
