"""Requests of many clients, answered together: lanes of like items, one thread that computes.

What arrives while a batch is computed makes up the next one: nobody waits for a timer, and the busier the
server is, the larger batches become. Requests take turns, a batch each: one of many items holds up nobody.
"""

import asyncio
import time
from collections.abc import Callable, Hashable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, NamedTuple

Compute = Callable[[Sequence[Any]], Sequence[Any]]
"""Answers to items, in their order, computed together."""


class Lane(NamedTuple):
    """What can be computed together.

    Attributes:
        work: its name in the metrics; items of one work cost alike.
        of: the model or the collection.
        how: the options.
    """

    work: str
    of: Hashable = None
    how: Hashable = None


class Full(Exception):
    """There is no room for more."""


class Closed(Exception):
    """The server is shutting down."""


@dataclass(eq=False)
class _Request:
    """Whose items wait; `since` is when it came, or had its last turn."""

    since: float


@dataclass(eq=False)
class _Job:
    """An item that waits, and where its answer is awaited."""

    item: Any
    length: int
    answer: asyncio.Future[Any]
    request: _Request


@dataclass(eq=False)
class _Queue:
    """Items of a lane that wait."""

    compute: Compute
    waiting: list[_Job] = field(default_factory=list)


class Batcher:
    """Takes items one by one, computes their answers in batches.

    Args:
        batch: most items of a batch.
        room: most items that wait, or for which is read what they need; more are refused.
        observe: told the work of each batch, its items, and the seconds it took.

    All methods are for the event loop's thread; what computes runs in one thread of its own.
    """

    def __init__(
        self,
        batch: int,
        room: int,
        observe: Callable[[str, int, float], None] = lambda *_: None,
    ) -> None:
        self._batch, self._room, self._observe = batch, room, observe
        self._lanes: dict[Lane, _Queue] = {}
        self._closed, self._expected = False, 0  # items for which is read what they need
        self._threads = ThreadPoolExecutor(1, thread_name_prefix="compute")
        self._arrived = asyncio.Event()
        self._worker: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Items that wait."""
        return sum(len(queue.waiting) for queue in self._lanes.values())

    @property
    def alive(self) -> bool:
        """Whether what is asked will be computed; false once closed, or if computing ended by a fault."""
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
        """Refuse early what there is no room for, before it is read.

        Raises:
            Full: as many items do not fit now.
            Closed: the server is shutting down.
        """
        if self._closed:
            raise Closed
        before = self._expected + self.waiting
        if before and before + items > self._room:
            raise Full

    @contextmanager
    def expecting(self, items: int = 1) -> Iterator[None]:
        """Keep room for items that come when what they need is read or looked up."""
        self._expected += items
        try:
            yield
        finally:
            self._expected -= items
            self._arrived.set()  # the worker may be waiting for these alone

    async def answers(
        self,
        lane: Lane,
        compute: Compute,
        items: Sequence[Any],
        lengths: Sequence[int],
        since: float | None = None,
    ) -> list[Any]:
        """The answers of some items, in their order.

        Whoever is cancelled while waiting frees the room of those items that are not computed yet.

        Args:
            lane: what can be computed together has one lane.
            compute: how; of the lane's first items, for all.
            items: of one request.
            lengths: of the items, by which batches are filled with like ones.
            since: by `time.perf_counter`, from when a request has waited of which this is a later step; it
                comes before those that are newer.

        Raises:
            Full, Closed: see `check_room`.
            Exception: what the computation of an item raised.
        """
        if not self.alive:
            raise Closed
        if since is None:  # else it has begun, and what it has cost would be lost
            self.check_room(len(items))
        if not items:
            return []
        loop = asyncio.get_running_loop()
        place = self._lanes.setdefault(lane, _Queue(compute))
        request = _Request(time.perf_counter() if since is None else since)
        jobs = [
            _Job(item, length, loop.create_future(), request)
            for item, length in zip(items, lengths, strict=True)
        ]
        place.waiting.extend(jobs)
        self._arrived.set()
        try:
            return list(await asyncio.gather(*(job.answer for job in jobs)))
        finally:
            for job in jobs:
                if not job.answer.done():
                    job.answer.cancel()
            self._drop_cancelled(lane)

    def _drop_cancelled(self, lane: Lane) -> None:
        place = self._lanes.get(lane)
        if place is None:
            return
        place.waiting = [job for job in place.waiting if not job.answer.cancelled()]
        if not place.waiting:
            del self._lanes[lane]

    async def _work(self) -> None:
        while True:
            if not self._lanes:
                if self._closed and not self._expected:
                    return
                self._arrived.clear()
                await self._arrived.wait()
                continue
            # The lane of whoever came, or had a turn, longest ago.
            lane = min(self._lanes, key=lambda name: min(map(_since, self._lanes[name].waiting)))
            compute, jobs = self._next(lane)
            await self._compute(lane, compute, jobs)

    def _next(self, lane: Lane) -> tuple[Compute, list[_Job]]:
        """A batch of a lane: the first item, and those nearest to its length."""
        place = self._lanes[lane]
        first = min(place.waiting, key=_since)
        place.waiting.sort(key=lambda job: (job is not first, abs(job.length - first.length), _since(job)))
        jobs, place.waiting = place.waiting[: self._batch], place.waiting[self._batch :]
        first.request.since = time.perf_counter()
        if not place.waiting:
            del self._lanes[lane]
        return place.compute, jobs

    async def _compute(self, lane: Lane, compute: Compute, jobs: list[_Job]) -> None:
        items, loop = [job.item for job in jobs], asyncio.get_running_loop()
        began = time.perf_counter()
        try:
            results = await loop.run_in_executor(self._threads, _safely, compute, items)
        except Exception as error:  # no thread could be started: this batch fails, and the next is tried
            results = [_Failure(error)] * len(jobs)
        self._observe(lane.work, len(jobs), time.perf_counter() - began)
        for job, result in zip(jobs, results, strict=True):
            if job.answer.done():  # nobody waits for it any more
                continue
            if isinstance(result, _Failure):
                job.answer.set_exception(result.error)
            else:
                job.answer.set_result(result)


def _since(job: _Job) -> float:
    return job.request.since


@dataclass(frozen=True)
class _Failure:
    error: Exception


def _safely(compute: Compute, items: list[Any]) -> list[Any]:
    """The answers; where one item breaks the batch each is computed alone, so that others have theirs."""
    try:
        found = list(compute(items))
        if len(found) != len(items):
            raise RuntimeError(f"{len(found)} answers to {len(items)} items")
        return found
    except BaseException as error:  # a panic of a library in Rust is no Exception
        if len(items) == 1:
            return [_Failure(error if isinstance(error, Exception) else RuntimeError(repr(error)))]
        return [_safely(compute, [item])[0] for item in items]
