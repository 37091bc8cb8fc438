"""A server that runs until it is asked to stop, and loads its models again at SIGHUP."""

import asyncio
import signal
from collections.abc import Callable

import uvicorn

from xfm.serving.app import Server


def serve(server: Server, started: Callable[[str], None] = lambda _: None) -> None:
    """Listen until SIGINT or SIGTERM; what was taken is answered first.

    Args:
        server: the server.
        started: told the address when requests are taken.

    Raises:
        OSError: the address cannot be listened at.
    """
    asyncio.run(_serve(server, started))


async def _serve(server: Server, started: Callable[[str], None]) -> None:
    config = server.config
    running = uvicorn.Server(
        uvicorn.Config(
            server.guarded,
            host=config.host,
            port=config.port,
            log_level="warning",
            lifespan="on",
            timeout_keep_alive=5,
            timeout_graceful_shutdown=int(config.drain_seconds),
            h11_max_incomplete_event_size=64 << 10,
            server_header=False,
        )
    )
    loop = asyncio.get_running_loop()
    reloading: set[asyncio.Task[None]] = set()

    def reload() -> None:
        task = loop.create_task(server.reload())
        reloading.add(task)
        task.add_done_callback(reloading.discard)

    loop.add_signal_handler(signal.SIGHUP, reload)
    task = loop.create_task(running.serve())
    while not running.started and not task.done():
        await asyncio.sleep(0.02)
    if running.started:
        (first,) = {sock.getsockname()[:2] for one in running.servers for sock in one.sockets}
        started(f"http://{first[0]}:{first[1]}")
    await task
