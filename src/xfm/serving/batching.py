"""Dynamic batching: lanes of like items, computed in one thread. Items that arrive while a batch is computed
make up the next one, without a timer. Requests take turns, a batch each: one of many items holds up
nobody."""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

Compute = Callable[[Sequence[Any]], Sequence[Any]]
"""Answers to items, in their order, computed together."""


class BatchKey(NamedTuple):
    """Items that can be computed together: the work's name in the metrics, the model or collection, the
    options."""

    work: str
    of: Hashable = None
    how: Hashable = None


class QueueFull(Exception):
    """The queue is full."""


class BatcherClosed(Exception):
    """The server is shutting down."""


@dataclass(eq=False)
class _Job:
    """An item of a request; `turn`, which the request's items share, is when it came or had its last turn."""

    compute: Compute
    item: Any
    length: int
    answer: asyncio.Future[Any]
    turn: list[float]


class Batcher:
    """Computes items of many requests in batches, in one thread; methods are for the event loop's thread.
    `observe` gets the work, items and seconds of each batch."""

    def __init__(
        self,
        max_batch_size: int,
        queue_size: int,
        observe: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._batch, self._queue_size, self._observe = max_batch_size, queue_size, observe
        self._lanes: dict[BatchKey, list[_Job]] = {}
        self._closed, self._expected = False, 0  # items for which is read what they need
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Number of waiting items."""
        return sum(map(len, self._lanes.values()))

    @property
    def alive(self) -> bool:
        """Whether items will be computed: false once closed, or after a fault of the worker."""
        return self._worker is not None and not self._worker.done()

    def start(self) -> None:
        """Begin to compute."""
        self._worker = asyncio.get_running_loop().create_task(self._work())

    async def close(self) -> None:
        """Take nothing more, answer what was taken, and end."""
        self._closed = True
        self._arrived.set()
        if self._worker is not None:
            await self._worker
        self._threads.shutdown()

    def check_room(self, items: int) -> None:
        """Refuse items before they are read; raises Full or Closed."""
        if self._closed:
            raise BatcherClosed
        before = self._expected + self.waiting
        if before and before + items > self._queue_size:
            raise QueueFull

    @contextmanager
    def expecting(self, items: int = 1) -> Iterator[None]:
        """Reserve room for items that are still being read."""
        self._expected += items
        try:
            yield
        finally:
            self._expected -= items
            self._arrived.set()  # the worker may be waiting for these alone

    async def answers(
        self,
        lane: BatchKey,
        compute: Compute,
        items: Sequence[Any],
        lengths: Sequence[int],
        since: float | None = None,
    ) -> list[Any]:
        """The answers of a request's items, in order; raises Full, Closed, or the computation's error.
        Cancelling frees the items that are not computed yet. `lengths` group like items in batches; `since`
        (`time.perf_counter`) marks a later step of a request, which comes before newer ones."""
        if not self.alive:
            raise BatcherClosed
        if since is None:  # else it has begun, and what it has cost would be lost
            self.check_room(len(items))
        if not items:
            return []
        loop, turn = asyncio.get_running_loop(), [time.perf_counter() if since is None else since]
        jobs = [
            _Job(compute, item, length, loop.create_future(), turn)
            for item, length in zip(items, lengths, strict=True)
        ]
        self._lanes.setdefault(lane, []).extend(jobs)
        self._arrived.set()
        try:
            return list(await asyncio.gather(*(job.answer for job in jobs)))
        finally:
            for job in jobs:
                if not job.answer.done():
                    job.answer.cancel()
            self._keep(lane, [job for job in self._lanes.get(lane, ()) if not job.answer.cancelled()])

    def _keep(self, lane: BatchKey, jobs: list[_Job]) -> None:
        self._lanes.pop(lane, None)
        if jobs:
            self._lanes[lane] = jobs

    async def _work(self) -> None:
        while True:
            if not self._lanes:
                if self._closed and not self._expected:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            # The lane of whoever came, or had a turn, longest ago.
            lane = min(self._lanes, key=lambda name: min(job.turn for job in self._lanes[name]))
            await self._compute(lane, self._next(lane))

    def _next(self, lane: BatchKey) -> list[_Job]:
        """A batch of a lane: the oldest item, and those nearest to its length."""
        waiting = self._lanes[lane]
        first = min(waiting, key=lambda job: job.turn)
        waiting.sort(key=lambda job: (job is not first, abs(job.length - first.length), job.turn))
        self._keep(lane, waiting[self._batch :])
        first.turn[0] = time.perf_counter()
        return waiting[: self._batch]

    async def _compute(self, lane: BatchKey, jobs: list[_Job]) -> None:
        items, loop = [job.item for job in jobs], asyncio.get_running_loop()
        began = time.perf_counter()
        try:
            results = await loop.run_in_executor(self._threads, _safely, jobs[0].compute, items)
        except Exception as error:  # no thread could be started: this batch fails, and the next is tried
            results = [error] * len(jobs)
        self._observe(lane.work, len(jobs), time.perf_counter() - began)
        for job, result in zip(jobs, results, strict=True):
            if job.answer.done():  # nobody waits for it any more
                continue
            if isinstance(result, Exception):
                job.answer.set_exception(result)
            else:
                job.answer.set_result(result)


def _safely(compute: Compute, items: list[Any]) -> list[Any]:
    """Answers of a batch, or their errors: if it fails, each item is computed alone."""
    try:
        found = list(compute(items))
        if len(found) != len(items):
            raise RuntimeError(f"{len(found)} answers to {len(items)} items")
        return found
    except BaseException as error:  # a panic of a library in Rust is no Exception
        if len(items) == 1:
            return [error if isinstance(error, Exception) else RuntimeError(repr(error))]
        return [_safely(compute, [item])[0] for item in items]
