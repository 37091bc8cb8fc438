"""Batches of texts of like length: every text once an epoch, within the budget, by (seed, step)."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.data.buckets import LengthClasses, TokenBuckets
from xfm.data.mixture import RunOrder

SEEDS = st.integers(0, 2**31)
RUNS = st.none() | st.builds(RunOrder, st.integers(1, 400), st.integers(1, 5))


@st.composite
def classes(draw: st.DrawFn, most: int = 1500) -> LengthClasses:
    longest = sorted(draw(st.sets(st.integers(1, 40), min_size=1, max_size=5)))
    size = draw(st.integers(len(longest), most))
    of = np.random.default_rng(draw(SEEDS)).integers(0, len(longest), size)
    of[: len(longest)] = range(len(longest))
    return LengthClasses(of.astype(np.uint8), longest)


def records(buckets: TokenBuckets, step: int) -> list[tuple[int, int]]:
    return [buckets.locate(position) for position in buckets.positions(step)]


@settings(max_examples=25, deadline=None)
@given(classes(), st.integers(40, 2000), RUNS, SEEDS)
def test_an_epoch_shows_every_text_once_within_the_budget(found, tokens, runs, seed):
    buckets = TokenBuckets([found], [1.0], tokens, seed, [runs])
    steps, seen = buckets.corpora[0].batches, []
    for epoch in range(2):
        texts = []
        for step in range(epoch * steps, (epoch + 1) * steps):
            batch = [index for _, index in records(buckets, step)]
            assert buckets.fewest <= len(batch)
            assert len(batch) * buckets.longest(step) <= tokens
            assert {found.longest[found.of[index]] for index in batch} == {buckets.longest(step)}
            texts += batch
        assert sorted(texts) == list(range(len(found.of)))
        seen.append(texts)
    if len(found.of) > 20:
        assert seen[0] != seen[1]  # each epoch in its own order


@settings(max_examples=10, deadline=None)
@given(classes(300), classes(300), RUNS, SEEDS)
def test_a_step_is_a_function_of_seed_and_step(one, other, runs, seed):
    def built(of_seed: int) -> TokenBuckets:
        return TokenBuckets([one, other], [2, 1], 200, of_seed, [runs, None])

    steps = [0, 3, 10**9, 1, 57]
    first = {step: records(built(seed), step) for step in steps}
    again = built(seed)
    assert {step: records(again, step) for step in reversed(steps)} == first
    assert [records(built(seed + 1), step) for step in range(20)] != [
        records(again, step) for step in range(20)
    ]


def test_texts_follow_the_weights_however_long_they_are():
    rng = np.random.default_rng(0)
    short = LengthClasses(rng.integers(0, 2, 500).astype(np.uint8), [8, 16])
    long = LengthClasses(rng.integers(0, 2, 900).astype(np.uint8), [32, 128])
    buckets = TokenBuckets([short, long], [3, 1], 512, 1)
    counts: Counter[int] = Counter()
    for step in range(4000):
        counts[buckets.bucket(step).corpus] += len(buckets.bucket(step).places)
    assert counts[0] / counts.total() == pytest.approx(0.75, abs=0.01)


def test_runs_are_read_one_window_after_the_other():
    """A tenth of an epoch comes from a part of the corpus, whatever the lengths."""
    rng = np.random.default_rng(0)
    of = rng.choice(4, 40_000, p=[0.6, 0.25, 0.1, 0.05]).astype(np.uint8)
    buckets = TokenBuckets([LengthClasses(of, [8, 16, 32, 64])], [1], 512, 5, [RunOrder(500, 4)])
    steps = buckets.corpora[0].batches
    for start in range(0, steps - steps // 10, steps // 10):
        found = [records(buckets, step) for step in range(start, start + steps // 10)]
        blocks = {index // 500 for batch in found for _, index in batch}
        assert len(blocks) <= 8 + 2 * 4 + 4  # a tenth of 80, windows at both ends, and what classes differ by
    assert buckets.run(0, 1234) == range(1000, 1500)
    assert TokenBuckets([LengthClasses(of, [8, 16, 32, 64])], [1], 512, 5).run(0, 1234) is None
