"""Bad requests by hand: each gets the status that is right, and the server lives on, in bounded memory."""

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.serving.attacks import ATTACKS, Attack, data_url, encoded
from tests.serving.process import Served

MEMORY = 2 << 30
"""Bytes that the server may have taken at its highest: the program, and two pictures of 64 million pixels."""
SLOW = re.compile("bomb|many-(keys|scans|bombs)|longest")
"""Attacks that take seconds to make."""
INSIDE = re.compile(r"Traceback|site-packages|/xfm/|\.py\b|root:|/tmp/|/home/")
"""What no answer may tell."""


@pytest.fixture(scope="module")
def server(model: Path, kept_collection: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with Served(model, tmp_path_factory.mktemp("attacks"), ["--index", str(kept_collection)]) as running:
        yield running
        assert running.alive()
        assert "Traceback" not in running.said()


def peak(server: Served) -> int:
    status = Path(f"/proc/{server.process.pid}/status")
    if not status.exists():
        return server.memory()
    return int(re.search(r"VmHWM:\s+(\d+) kB", status.read_text())[1]) << 10  # pyright: ignore


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_a_bad_request_harms_nobody(server: Served, attack: Attack, request: pytest.FixtureRequest) -> None:
    if SLOW.search(attack.name) and not request.config.getoption("--hostile-all", default=None):
        pytest.skip("make hostile runs it")
    status, told = server.ask(attack.route, attack.body(), attack.headers)
    shown = told.decode("utf-8", "replace") if isinstance(told, bytes) else json.dumps(told)
    assert status in attack.statuses, shown[:500]
    assert attack.says in shown
    if status != 200:
        assert len(shown) < 5000
        assert not INSIDE.search(shown)
        assert told["error"]["message"]
    assert server.alive()
    assert peak(server) < MEMORY


LONG = [f"{n} " + f"qwert{n} lorem ipsum " * 4000 for n in range(256)]
PICTURE = data_url(encoded("PNG"))
GREEDY = {
    "texts": ("/v1/embeddings", {"input": [one[:65_536] for one in LONG]}),
    "documents": ("/v2/rerank", {"query": PICTURE, "documents": [one[:65_536] for one in LONG[:250]]}),
    "long-labels": (
        "/v1/tasks/zero-shot-image-classification",
        {"input": {"image": PICTURE}, "options": {"candidate_labels": [str(n) * 900 for n in range(4000)]}},
    ),
}


@thorough
@pytest.mark.parametrize("name", GREEDY)
def test_a_request_of_much_work_makes_nobody_else_wait(server: Served, name: str) -> None:
    def small() -> float:
        began = time.monotonic()
        assert server.ask("/v1/embeddings", {"input": "a red square"})[0] == 200
        return time.monotonic() - began

    quiet, waits, began = max(small() for _ in range(5)), list[float](), time.monotonic()
    with ThreadPoolExecutor(1) as pool:
        greedy = pool.submit(server.ask, *GREEDY[name])
        while not greedy.done():
            waits.append(small())
    assert greedy.result()[0] in (200, 422, 504)
    # A slow machine is told by the time of the request, for which others would wait if it had no turns.
    assert max(waits) < max(2 + 20 * quiet, 0.8 * (time.monotonic() - began)), waits
