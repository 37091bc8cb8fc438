"""Batches of many clients' items: shared, bounded, and nobody's fault is another one's."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

import pytest
import tokenizers
from tokenizers import models, pre_tokenizers

from xfm.serving.batching import Batcher, BatcherClosed, BatchKey, QueueFull


class Computer:
    """Doubles numbers, and keeps what was computed together."""

    def __init__(self, seconds: float = 0.0) -> None:
        self.batches: list[list[Any]] = []
        self.seconds = seconds

    def __call__(self, items: Sequence[Any]) -> list[Any]:
        self.batches.append(list(items))
        time.sleep(self.seconds)
        if "bad" in items:
            raise ValueError("bad")
        return [2 * item for item in items]


def with_batcher(
    max_batch_size: int = 4, queue_size: int = 100, seconds: float = 0.0
) -> Callable[[Any], Callable[[], None]]:
    async def run(test: Any) -> None:
        batcher = Batcher(max_batch_size, queue_size)
        batcher.start()
        await test(batcher, Computer(seconds))
        await asyncio.wait_for(batcher.close(), 5)

    return lambda test: lambda: asyncio.run(run(test))


async def ask(batcher: Batcher, computer: Computer, *items: Any, lane: str = "a") -> list[Any]:
    return await batcher.answers(BatchKey(lane), computer, items, [len(str(item)) for item in items])


@with_batcher(seconds=0.06)
async def test_answers_come_to_whom_they_belong(batcher, computer):
    found = await asyncio.gather(*(ask(batcher, computer, n, n + 100) for n in range(20)))
    assert found == [[2 * n, 2 * n + 200] for n in range(20)]
    assert max(map(len, computer.batches)) == 4
    assert len(computer.batches) < 15


@with_batcher(max_batch_size=4, queue_size=3, seconds=0.12)
async def test_a_later_step_comes_before_what_is_newer_and_is_never_refused(batcher, computer):
    began = time.perf_counter()
    first = asyncio.create_task(ask(batcher, computer, 1))
    await asyncio.sleep(0.03)
    newer = asyncio.create_task(ask(batcher, computer, 2, 3, lane="b"))
    await asyncio.sleep(0.03)
    with pytest.raises(QueueFull):
        await ask(batcher, computer, 4, 4, lane="c")  # two wait, and three may
    steps = [
        asyncio.create_task(batcher.answers(BatchKey(lane), computer, [number], [1], began))
        for lane, number in (("b", 5), ("c", 6))
    ]
    assert await asyncio.gather(first, newer, *steps) == [[2], [4, 6], [10], [12]]
    assert computer.batches == [[1], [5, 2, 3], [6]]
    assert await ask(batcher, computer, *range(5)) == [0, 2, 4, 6, 8]  # an empty queue takes any request


@with_batcher(seconds=0.12)
async def test_requests_take_turns(batcher, computer):
    """One of many items is computed a batch at a time, and who comes later waits for no more than two."""
    many = asyncio.create_task(ask(batcher, computer, *range(100, 120)))
    await asyncio.sleep(0.18)
    few = [asyncio.create_task(ask(batcher, computer, n, lane="ab"[n])) for n in range(2)]
    await asyncio.gather(many, *few)
    firsts = [batch[0] for batch in computer.batches]
    assert firsts.index(0) <= 3
    assert firsts.index(1) <= 4
    assert sum(map(len, computer.batches)) == 22


@with_batcher(seconds=0.06)
async def test_one_bad_item_breaks_no_other(batcher, computer):
    found = await asyncio.gather(
        ask(batcher, computer, 1), ask(batcher, computer, "bad"), ask(batcher, computer, 3),
        return_exceptions=True,
    )  # fmt: skip
    assert found[0] == [2]
    assert isinstance(found[1], ValueError)
    assert found[2] == [6]
    assert await ask(batcher, computer, 5) == [10]


def panicking(items: Sequence[Any]) -> list[Any]:
    backend = tokenizers.Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Split(tokenizers.Regex("(a|aa)+#"), "isolated")
    return [len(backend.encode(item)) for item in items]


@with_batcher()
async def test_a_panic_breaks_its_own_item_and_the_worker_lives(batcher, computer):
    lane, hostile = BatchKey("panic"), "a" * 1000
    bad = batcher.answers(lane, panicking, [hostile], [1])
    good = batcher.answers(lane, panicking, [""], [1])
    async with asyncio.timeout(60):
        found = await asyncio.gather(bad, good, return_exceptions=True)
    assert isinstance(found[0], RuntimeError)
    assert "PanicException" in str(found[0])
    assert found[1] == [0]
    assert batcher.alive
    assert await ask(batcher, computer, 5) == [10]


@with_batcher(max_batch_size=1, seconds=0.12)
async def test_what_was_taken_is_answered_at_the_end(batcher, computer):
    tasks = [asyncio.create_task(ask(batcher, computer, n)) for n in range(5)]
    await asyncio.sleep(0.06)
    closing = asyncio.create_task(batcher.close())
    await asyncio.sleep(0)
    with pytest.raises(BatcherClosed):
        await ask(batcher, computer, 9)
    assert await asyncio.gather(*tasks) == [[0], [2], [4], [6], [8]]
    await closing
