"""Many clients of one HTTP server, as cheap as can be: requests are bytes, answers are counted.

A closed loop has so many clients, each of which asks again as soon as it is answered: it finds what a server
can do. An open loop sends at a rate, whatever the server does, and measures from the moment at which a
request was due, so that a server that stalls is not spared the requests that it made wait.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import numpy as np


@dataclass(frozen=True)
class Sent:
    """A request: its kind, for the table, and its bytes."""

    kind: str
    data: bytes


def request(kind: str, route: str, told: Any) -> Sent:
    """A POST of JSON."""
    body = json.dumps(told).encode()
    head = f"POST {route} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    return Sent(kind, head.encode() + b"Content-Length: %d\r\n\r\n" % len(body) + body)


@dataclass
class Tally:
    """What came back.

    Attributes:
        seconds: that the loop took.
        statuses: how many of each; 0 is a connection that broke.
        latencies: seconds of each answer of status 200, by kind.
    """

    seconds: float = 0.0
    statuses: Counter[int] = field(default_factory=Counter)
    latencies: dict[str, list[float]] = field(default_factory=dict)

    @property
    def rate(self) -> float:
        """Requests a second that were answered with 200."""
        return self.statuses[200] / self.seconds

    def add(self, other: "Tally") -> None:
        """Count what another loop brought, too."""
        self.seconds += other.seconds
        self.statuses.update(other.statuses)
        for kind, latencies in other.latencies.items():
            self.latencies.setdefault(kind, []).extend(latencies)

    def percentiles(self, kind: str | None = None) -> dict[str, float]:
        """p50, p95, p99 and the largest latency in milliseconds, of one kind or of all."""
        chosen = [one for name, many in self.latencies.items() if kind in (None, name) for one in many]
        names = {"p50": 50, "p95": 95, "p99": 99, "max": 100}
        return {name: 1000 * float(np.percentile(chosen, at)) for name, at in names.items()} if chosen else {}


class Connection:
    """A connection that is kept, and made again where it broke."""

    def __init__(self, address: str) -> None:
        parts = urlsplit(address)
        self._host, self._port = parts.hostname, parts.port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, data: bytes) -> int:
        """The status of the answer, all of which was read; 0 where the connection broke.

        One that the server has closed meanwhile, because it was idle, is made again, as all clients do.
        """
        kept = self._streams is not None
        status = await self._ask(data)
        return await self._ask(data) if kept and not status else status

    async def _ask(self, data: bytes) -> int:
        try:
            if self._streams is None:
                self._streams = await asyncio.open_connection(self._host, self._port, limit=1 << 20)
            reader, writer = self._streams
            writer.write(data)
            head = await reader.readuntil(b"\r\n\r\n")
            lines = head.lower().split(b"\r\n")
            lengths = [int(line.split(b":")[1]) for line in lines if line.startswith(b"content-length:")]
            await reader.readexactly(lengths[0] if lengths else 0)
            if b"connection: close" in lines:
                self.close()
            return int(lines[0].split()[1])
        except (OSError, asyncio.IncompleteReadError):
            self.close()
            return 0

    def close(self) -> None:
        """End it."""
        if self._streams is not None:
            self._streams[1].close()
        self._streams = None


def closed_loop(
    address: str, requests: Sequence[Sent], clients: int, seconds: float, start: int = 0
) -> Tally:
    """As many requests as so many clients can have answered in a time; after status 429 they wait."""

    async def run() -> Tally:
        tally, began = Tally(), time.perf_counter()
        numbers = iter(range(start, 1 << 60))

        async def client() -> None:
            connection = Connection(address)
            while time.perf_counter() - began < seconds:
                sent, asked = requests[next(numbers) % len(requests)], time.perf_counter()
                status = await connection.ask(sent.data)
                _count(tally, sent, status, asked)
                if status in (0, 429):
                    await asyncio.sleep(0.25)
            connection.close()

        await asyncio.gather(*(client() for _ in range(clients)))
        tally.seconds = time.perf_counter() - began
        return tally

    return asyncio.run(run())


def open_loop(
    address: str, requests: Sequence[Sent], clients: int, rate: float, seconds: float, start: int = 0
) -> Tally:
    """Requests at random times, so many a second, over so many connections."""

    async def run() -> Tally:
        tally, began, chance = Tally(), time.perf_counter(), random.Random(0)
        free: asyncio.Queue[Connection] = asyncio.Queue()
        for _ in range(clients):
            free.put_nowait(Connection(address))
        running: set[asyncio.Task[None]] = set()

        async def one(sent: Sent, due: float) -> None:
            connection = await free.get()
            _count(tally, sent, await connection.ask(sent.data), due)
            free.put_nowait(connection)

        due, number = began, start
        while due - began < seconds:
            await asyncio.sleep(max(0.0, due - time.perf_counter()))
            task = asyncio.create_task(one(requests[number % len(requests)], due))
            running.add(task)
            task.add_done_callback(running.discard)
            due, number = due + chance.expovariate(rate), number + 1
        await asyncio.gather(*running)
        tally.seconds = time.perf_counter() - began
        while not free.empty():
            free.get_nowait().close()
        return tally

    return asyncio.run(run())


def _count(tally: Tally, sent: Sent, status: int, since: float) -> None:
    tally.statuses[status] += 1
    if status == 200:
        tally.latencies.setdefault(sent.kind, []).append(time.perf_counter() - since)
