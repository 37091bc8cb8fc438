"""A server with a tiny model, in a thread of the test's own process."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
pytest.importorskip("prometheus_client")

from tests.data.picture_kinds import saved
from tests.evaluation.tiny import draw
from tests.serving.client import Client
from xfm.config.serving import ServeConfig
from xfm.search.opening import open_index
from xfm.search.sources import FolderSupply
from xfm.serving.app import Server
from xfm.serving.served import Models, Searches
from xfm.serving.server import Listener


class Running:
    """A server that listens."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._running = Listener(server)
        self._thread = threading.Thread(target=lambda: asyncio.run(self._running.serve()), daemon=True)
        self._thread.start()
        while not self._running.started:
            if not self._thread.is_alive():
                raise RuntimeError("the server did not start")
            self._thread.join(0.01)
        (socket,) = [one for part in self._running.servers for one in part.sockets]
        self.address = f"http://127.0.0.1:{socket.getsockname()[1]}"

    def client(self, **told: Any) -> Client:
        return Client(self.address, **told)

    def stop(self) -> None:
        self._running.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()


@pytest.fixture
def serving(model: Path) -> Iterator[Callable[..., Running]]:
    running: list[Running] = []

    def start(
        *,
        index: Path | list[Path] = [],  # noqa: B006
        keys: tuple[str, ...] = (),
        model: Path = model,
        **config: Any,
    ) -> Running:
        told = ServeConfig(port=0, **config)
        searches = Searches(index if isinstance(index, list) else [index], show_from=told.show_from)
        server = Server(Models([str(model)]), searches, told, keys)
        running.append(Running(server))
        return running[-1]

    yield start
    for one in running:
        one.stop()


def png(left: str = "red", right: str = "blue", jitter: int = 0) -> bytes:
    return saved(draw(left, right, jitter), "png")


def make_collection(model: Path, folder: Path) -> Path:
    pictures = folder / "pictures"
    pictures.mkdir()
    for number, (left, right) in enumerate((("red", "blue"), ("green", "red"), ("blue", "yellow"))):
        (pictures / f"{number}.png").write_bytes(png(left, right))
    with open_index(folder / "shop", model, make=True) as index:
        index.add(FolderSupply(pictures).candidates())
    return folder / "shop"


@pytest.fixture
def collection(model: Path, tmp_path: Path) -> Path:
    return make_collection(model, tmp_path)


@pytest.fixture(scope="session")
def kept_collection(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_collection(model, tmp_path_factory.mktemp("kept"))
