"""A server that runs until it is asked to stop, and loads its models again at SIGHUP."""

import asyncio
import logging
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from xfm.config.serving import ServeConfig
from xfm.core.errors import explained
from xfm.serving.app import Server

_HEAD_BYTES = 64 << 10
_KEEP_ALIVE = 30  # seconds for which a connection without a request stays open


def serve(server: Server, started: Callable[[str], None] = lambda _: None) -> None:
    """Listen until SIGINT (KeyboardInterrupt) or SIGTERM; requests that were taken are answered first.
    `started` is told the address. UserError: the address is taken or unknown."""
    failing = f"{server.config.host}:{server.config.port} cannot be listened at"
    with explained(failing, "take another --host or --port", OSError):
        interrupted = asyncio.run(_serve(server, started))
    if interrupted:
        raise KeyboardInterrupt("stopped")


class Listener(uvicorn.Server):
    """uvicorn's server by our configuration, without exiting the process or re-raising signals."""

    def __init__(self, server: Server, started: Callable[[str], None] = lambda _: None) -> None:
        limits = server.config
        told = uvicorn.Config(
            server.guarded,
            host=limits.host,
            port=limits.port,
            http=partial(Connection, limits=limits),  # pyright: ignore[reportArgumentType]
            ws="none",
            log_level="warning",
            lifespan="on",
            timeout_keep_alive=_KEEP_ALIVE,
            timeout_graceful_shutdown=int(limits.drain_seconds),
            h11_max_incomplete_event_size=_HEAD_BYTES,
            server_header=False,
            proxy_headers=False,
        )
        super().__init__(told)
        self._tell = started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen; raises OSError."""
        logging.getLogger("uvicorn.error").addFilter(lambda record: not isinstance(record.msg, OSError))
        try:
            await super().startup(sockets)
        except SystemExit as end:  # in a task of asyncio it would be logged
            raise end.__context__ or end from None
        if self.started:
            # A name may stand for an address of each family: any of them will do.
            host, port = next(sock.getsockname()[:2] for one in self.servers for sock in one.sockets)
            self._tell(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """See uvicorn; the app ends its lifespan, too, where a second signal does not wait for requests."""
        await super().shutdown(sockets)
        if self.force_exit:
            await self.lifespan.shutdown()

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End at SIGINT and SIGTERM, in the main thread."""
        main = threading.current_thread() is threading.main_thread()
        if sys.platform == "win32":  # whose loop handles no signals
            with super().capture_signals():
                yield
            return
        loop, kinds = asyncio.get_running_loop(), (signal.SIGINT, signal.SIGTERM) if main else ()
        for kind in kinds:
            loop.add_signal_handler(kind, self.handle_exit, kind, None)
        try:
            yield
        finally:
            for kind in kinds:
                loop.remove_signal_handler(kind)


class Connection(H11Protocol):
    """A connection with limits: on their number, on a head's arrival, on taking an answer."""

    def __init__(self, *given: Any, limits: ServeConfig, **named: Any) -> None:
        super().__init__(*given, **named)
        self._limits = limits
        self._late: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # pyright: ignore
        """See asyncio: one too many is closed at once."""
        super().connection_made(transport)
        if len(self.connections) > self._limits.connections:
            transport.abort()
        else:
            self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """See asyncio."""
        self._late, self._stuck = _stopped(self._late), _stopped(self._stuck)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """See asyncio. Between requests nothing arrives, and uvicorn closes what is idle for long."""
        super().data_received(data)
        self._watch()

    def _watch(self) -> None:
        """Close where a head, or the rest of a refused body, does not arrive in time. Trickling bytes gain no
        time. A refused body is read on, since a client that cannot send reads no answer."""
        refused = self.conn.our_state is h11.DONE and self.conn.their_state is h11.SEND_BODY
        if self.conn.their_state is not h11.IDLE and not refused:
            self._late = _stopped(self._late)
        elif self._late is None:
            self._late = self.loop.call_later(self._limits.header_seconds, self.transport.abort)

    def pause_writing(self) -> None:
        """See asyncio: the client does not take its answer, and has a while to begin."""
        super().pause_writing()
        self._stuck = _stopped(self._stuck) or self.loop.call_later(
            self._limits.request_timeout, self.transport.abort
        )

    def resume_writing(self) -> None:
        """See asyncio."""
        super().resume_writing()
        self._stuck = _stopped(self._stuck)


def _stopped(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()


async def _serve(server: Server, started: Callable[[str], None]) -> bool:
    running = Listener(server, started)
    loop, reloading = asyncio.get_running_loop(), list[asyncio.Task[None]]()  # of which nobody else knows
    if sys.platform != "win32":  # which has no such signal
        loop.add_signal_handler(signal.SIGHUP, lambda: reloading.append(loop.create_task(server.reload())))
    await running.serve()
    return signal.SIGINT in running._captured_signals
