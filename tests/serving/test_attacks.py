"""Bad requests by hand: each gets the status that is right, and the server lives on, in bounded memory."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.serving.attacks import ATTACKS, Attack
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
    """The most bytes that a process has taken."""
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


def test_names_are_distinct() -> None:
    names = [attack.name for attack in ATTACKS]
    assert len(names) == len({*names})
