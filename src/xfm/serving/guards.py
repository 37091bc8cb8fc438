"""What stands before every route: keys, sizes, deadlines, counts; in ASGI, so that it sees all bytes."""

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from xfm.config.serving import ServeConfig
from xfm.serving.measures import Measures

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

OPEN = frozenset({"/health", "/ready"})
"""Routes that need no key: whoever watches a process has none."""


class Guard:
    """Refuses requests without a key, too large ones, and those that do not arrive or take too long.

    Args:
        app: what answers the others.
        config: the limits.
        keys: of clients; none asks nobody.
        measures: counts every request.
    """

    def __init__(self, app: App, config: ServeConfig, keys: Sequence[str], measures: Measures) -> None:
        self._app, self._config, self._measures = app, config, measures
        self._keys = [hashlib.sha256(key.encode()).digest() for key in keys]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began, status = time.perf_counter(), [500]

        async def sending(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                status[0] = message["status"]
            await send(message)

        try:
            await self._guarded(scope, receive, sending)
        finally:
            route = getattr(scope.get("route"), "path", "none")  # as it is declared, so that there are few
            self._measures.requests.labels(route, str(status[0])).inc()
            self._measures.seconds.labels(route).observe(time.perf_counter() - began)

    async def _guarded(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = {
            name.decode("latin-1").lower(): value.decode("latin-1") for name, value in scope["headers"]
        }
        if self._keys and scope["path"] not in OPEN and not self._known(headers):
            await refuse(
                send, 401, "the key is missing or wrong: send Authorization: Bearer KEY", "invalid_api_key"
            )
            return
        length = headers.get("content-length", "0")
        if not length.isdecimal() or len(length) > 18 or int(length) > self._config.body_bytes:
            await refuse(send, 413, f"a request may have {self._config.body_bytes} bytes", "too_large")
            return
        try:
            body = await asyncio.wait_for(self._body(receive), self._config.body_seconds)
        except TimeoutError:
            await refuse(
                send, 408, f"the request did not arrive within {self._config.body_seconds:g} s", "timeout"
            )
            return
        if body is None:
            await refuse(send, 413, f"a request may have {self._config.body_bytes} bytes", "too_large")
            return
        await self._answered(scope, body, receive, send)

    def _known(self, headers: dict[str, str]) -> bool:
        """Whether the request has one of the keys; all are compared, in constant time."""
        scheme, _, given = headers.get("authorization", "").partition(" ")
        given = given.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
        digest = hashlib.sha256(given.encode("utf-8", "replace")).digest()
        return sum(hmac.compare_digest(digest, key) for key in self._keys) > 0

    async def _body(self, receive: Receive) -> bytes | None:
        """The whole body; None where it is larger than it may be."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return b"".join(parts)
            part = message.get("body", b"")
            size += len(part)
            if size > self._config.body_bytes:
                return None
            parts.append(part)
            if not message.get("more_body"):
                return b"".join(parts)

    async def _answered(self, scope: Scope, body: bytes, receive: Receive, send: Send) -> None:
        """The answer of the app, given up when it takes too long or when nobody waits for it any more."""
        given = [False]
        started = [False]

        async def receiving() -> MutableMapping[str, Any]:
            if not given[0]:
                given[0] = True
                return {"type": "http.request", "body": body, "more_body": False}
            return await asyncio.get_running_loop().create_future()  # the watcher below sees who leaves

        async def sending(message: MutableMapping[str, Any]) -> None:
            started[0] = True
            await send(message)

        async def left() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass

        answer = asyncio.ensure_future(self._app(scope, receiving, sending))
        watcher = asyncio.ensure_future(left())
        try:
            done, _ = await asyncio.wait(
                {answer, watcher}, timeout=self._config.seconds, return_when=asyncio.FIRST_COMPLETED
            )
            if answer in done:
                await answer
            elif not done and not started[0]:
                answer.cancel()
                await asyncio.gather(answer, return_exceptions=True)
                await refuse(send, 504, f"not answered within {self._config.seconds:g} s", "timeout")
        finally:
            for task in (answer, watcher):
                task.cancel()
            await asyncio.gather(answer, watcher, return_exceptions=True)


async def refuse(
    send: Send, status: int, message: str, code: str, headers: dict[str, str] | None = None
) -> None:
    """Answer with an error in the form of the others."""
    content = json.dumps(error_body(message, code)).encode()
    named = {"content-type": "application/json", "content-length": str(len(content)), **(headers or {})}
    if status in (401,):
        named["www-authenticate"] = "Bearer"
    await send(
        {
            "type": "http.response.start",
            "status": status,
            "headers": [(name.encode(), value.encode()) for name, value in named.items()],
        }
    )
    await send({"type": "http.response.body", "body": content})


def error_body(message: str, code: str) -> dict[str, Any]:
    """An error as OpenAI's clients read it."""
    return {"error": {"message": message, "type": "invalid_request_error", "param": None, "code": code}}
