"""Guards before every route, in ASGI to see all bytes: names, keys, sizes, deadlines, counts."""

import asyncio
import hashlib
import hmac
import ipaddress
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from starlette.responses import Response
from starlette.types import ASGIApp as App
from starlette.types import Message, Receive, Scope, Send

from xfm.config.serving import ServeConfig
from xfm.serving.inputs import host_of
from xfm.serving.schemas import problem

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """Counters of one server; `waiting` gives the number of waiting items."""

    def __init__(self, waiting: Callable[[], float]) -> None:
        self.registry = CollectorRegistry()
        count = partial(Counter, registry=self.registry)
        spread = partial(Histogram, registry=self.registry)
        self.requests = count("xfm_requests", "Requests by route and status.", ["route", "status"])
        self.seconds = spread("xfm_request_seconds", "Time of a request.", ["route"], buckets=_SECONDS)
        self._sizes = spread("xfm_batch_items", "Items computed together.", ["task"], buckets=_SIZES)
        self._computed = spread("xfm_batch_seconds", "Time of a batch.", ["task"], buckets=_SECONDS)
        Gauge("xfm_waiting_items", "Items that wait.", registry=self.registry).set_function(waiting)

    def batch(self, task: str, items: int, seconds: float) -> None:
        """Count a batch."""
        self._sizes.labels(task).observe(items)
        self._computed.labels(task).observe(seconds)


OPEN = frozenset({"/health", "/ready"})
"""Routes that need no key: whoever watches a process has none."""


class Guard:
    """Refuses requests without a key, too large, too slow to arrive, or too long to answer; counts all. Paths
    in `free` need no key. With `page_headers`, which go with every answer, only the server's own page may ask
    in a browser, with a key too."""

    def __init__(
        self,
        app: App,
        config: ServeConfig,
        keys: Sequence[str],
        metrics: Metrics,
        free: frozenset[str] = OPEN,
        page_headers: Mapping[str, str] | None = None,
    ) -> None:
        self._app, self._config, self._metrics, self._free = app, config, metrics, free
        self._has_page = page_headers is not None
        self._headers = [(name.encode(), value.encode()) for name, value in (page_headers or {}).items()]
        self._keys = [hashlib.sha256(key.encode()).digest() for key in keys]
        self._names = frozenset(name.lower() for name in ("localhost", config.host, *config.names))
        self._held = 0  # bytes of the bodies of all requests that are under way

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        if scope["method"] == "HEAD":  # uvicorn leaves out the body
            scope = {**scope, "method": "GET"}
        began, status, held = time.perf_counter(), [500], [0]  # bytes of this request's body

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        try:
            body = self._refusal(scope) or await self._body(receive, held)
            if isinstance(body, Response):
                await body(scope, receive, sending)
            elif body is None or not await self._answered(scope, body, receive, sending):
                status[0] = 499  # the client is gone, and nothing is sent: as others count them
        finally:
            self._held -= held[0]
            route = getattr(scope.get("route"), "path", "none")  # as it is declared, so that there are few
            self._metrics.requests.labels(route, str(status[0])).inc()
            self._metrics.seconds.labels(route).observe(time.perf_counter() - began)

    def _refusal(self, scope: Scope) -> Response | None:
        if scope["path"] not in OPEN:
            host = _single(scope, b"host")
            if not self._keys and not self._named(host):  # a name that was made to mean this machine
                message = "the server is not asked by this name: use its address, or start it with --names"
                return problem(403, message, "host", _CLOSE)
            origins = [value.decode("latin-1") for name, value in scope["headers"] if name == b"origin"]
            asks_alone = not self._keys or self._has_page
            if asks_alone and any(one.lower().partition("://")[2] != host.lower() for one in origins):
                return problem(403, "a page of another address may not ask here", "forbidden")
        if self._keys and scope["path"] not in self._free and not self._known(scope):
            message = "the key is missing or wrong: send Authorization: Bearer KEY"
            return problem(401, message, "invalid_api_key", {"www-authenticate": "Bearer"})
        names = {name for name, _ in scope["headers"]}
        if {b"content-length", b"transfer-encoding"} <= names:  # two ends: proxies may see another one
            return problem(400, "a request has a length or is chunked, not both", "invalid_request", _CLOSE)
        length = _single(scope, b"content-length") or "0"
        if not length.isdecimal() or len(length) > 18 or int(length) > self._config.body_bytes:
            return self._too_large()
        return None

    def _too_large(self) -> Response:
        return problem(413, f"a request may have {self._config.body_bytes} bytes", "too_large")

    def _named(self, host: str) -> bool:
        name = host_of(f"//{host}").rstrip(".")
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return not host or name in self._names
        return True

    def _known(self, scope: Scope) -> bool:
        """Whether the request has one of the keys; all are compared, in constant time."""
        scheme, _, given = _single(scope, b"authorization").partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else _single(scope, b"x-api-key")
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        return sum(hmac.compare_digest(digest, key) for key in self._keys) > 0

    async def _body(self, receive: Receive, held: list[int]) -> bytes | Response | None:
        """A request's body, or the answer to one that is refused; None where the client is gone."""
        parts: list[bytes] = []
        try:
            async with asyncio.timeout(self._config.body_seconds):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    part = message.get("body", b"")
                    if held[0] + len(part) > self._config.body_bytes:
                        return self._too_large()
                    if self._held + len(part) > self._config.held_bytes:
                        return problem(429, *BUSY, {"retry-after": "1"})
                    held[0] += len(part)
                    self._held += len(part)
                    parts.append(part)
                    if not message.get("more_body"):
                        return b"".join(parts)
        except TimeoutError:
            message = f"the request did not arrive within {self._config.body_seconds:g} s"
            return problem(408, message, "timeout", _CLOSE)

    async def _answered(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> bool:
        """Have a request answered; whether anything was sent before the client left."""
        given, started = [False], [False]

        async def receiving() -> Message:
            if not given[0]:
                given[0] = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await asyncio.get_running_loop().create_future()  # the watcher below sees who leaves

        async def sending(message: Message) -> None:
            started[0] = True
            await send(message)

        async def left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        answer = asyncio.ensure_future(self._app(scope, receiving, sending))
        watcher = asyncio.ensure_future(left())
        try:
            done, _ = await asyncio.wait(
                {answer, watcher}, timeout=self._config.request_timeout, return_when=asyncio.FIRST_COMPLETED
            )
            if answer in done:
                await answer
            elif not done and not started[0]:
                answer.cancel()
                await asyncio.gather(answer, return_exceptions=True)
                late = problem(504, f"not answered within {self._config.request_timeout:g} s", "timeout")
                await late(scope, receive, send)
        finally:
            for task in (answer, watcher):
                task.cancel()
            await asyncio.gather(answer, watcher, return_exceptions=True)
        return started[0] or watcher not in done


_CLOSE = {"connection": "close"}
BUSY = ("the server is busy: try again later", "busy")
"""Message and code of what is refused for want of room."""


def _single(scope: Scope, name: bytes) -> str:
    """A header's value; nothing if it is absent or repeated."""
    found = [value for key, value in scope["headers"] if key == name]
    return found[0].decode("latin-1") if len(found) == 1 else ""
