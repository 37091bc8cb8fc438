"""A server one of whose collections lies in a PostgreSQL that falls silent."""

import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.alike import thorough
from tests.index.conftest import postgres_address
from tests.index.proxy import Proxy
from tests.processes import wait_until
from tests.serving.client import ask, shown
from tests.serving.conftest import Running, png
from xfm.search.opening import open_index
from xfm.search.sources import FolderSupply

pytest.importorskip("psycopg")


@thorough
def test_a_stalled_store_stops_the_searches_of_its_own_collection_alone(
    serving: Callable[..., Running],
    model: Path,
    collection: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with Proxy(postgres_address()) as proxy:
        table = f"t{uuid.uuid4().hex[:12]}"
        with open_index(tmp_path / "pg", model, make=True, address=proxy.address, table=table) as index:
            index.add(FolderSupply(tmp_path / "pictures").candidates())
        running = serving(index=[collection, tmp_path / "pg"], workers=1)

        def search(name: str) -> tuple[int, Any]:
            return ask(running.address, "/search", {"text": "a square", "index": name})[:2]

        def picture(key: str) -> int:
            return ask(running.address, f"/search/picture?index=pg&key={key}")[0]

        def ready() -> tuple[Any, ...]:
            status, told, _ = ask(running.address, "/ready")
            return status, told["ready"], told["collections"], told.get("unavailable")

        key = search("pg")[1]["hits"][0]["key"]
        (tmp_path / "pictures").rename(tmp_path / "gone")  # so that the store is asked for pictures
        assert (search("shop")[0], picture(key)) == (200, 200)
        monkeypatch.setattr("xfm.search.postgres.ANSWER_SECONDS", 3)
        proxy.silent.set()
        with ThreadPoolExecutor(8) as clients:
            began = time.monotonic()
            stalled = [clients.submit(search, "pg") for _ in range(4)]
            stalled += [clients.submit(picture, key) for _ in range(4)]
            time.sleep(0.5)
            assert search("shop")[0] == 200
            pictures = {"input": [{"image": shown(png())}]}
            assert ask(running.address, "/v1/embeddings", pictures)[0] == 200
            assert ready() == (200, True, ["shop"], ["pg"])
            assert not any(one.done() for one in stalled)
            ended = [one.result() for one in stalled]
            assert time.monotonic() - began < 25
        assert [one if isinstance(one, int) else one[0] for one in ended] == [503] * 8
        proxy.silent.clear()
        wait_until(lambda: search("pg")[0] == 200)
        assert ready() == (200, True, ["shop", "pg"], [])
        with open_index(tmp_path / "pg") as index:
            index.store.drop()
