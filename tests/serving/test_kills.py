"""Servers and builders that are killed at random moments, and one that is asked to end while it is asked.

A few kills in the suite, fifty each with `make hostile` (`XFM_KILLS`).
"""

import os
import random
import threading
import time
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path
from typing import Any

import pytest

from tests.alike import thorough
from tests.serving.client import shown
from tests.serving.conftest import png
from tests.serving.process import Served

KILLS = int(os.environ.get("XFM_KILLS", "1"))
AGAIN = 5.0
"""Seconds that a server may take longer to be up again than it took at first, when nothing was wrong."""


class Asking:
    """Threads that ask a server of everything until they are told to stop."""

    def __init__(self, server: Served, threads: int = 8) -> None:
        self.found: list[tuple[float, int]] = []
        self._server, self._stop = server, threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,), daemon=True) for n in range(threads)]
        for thread in self._threads:
            thread.start()

    def _run(self, number: int) -> None:
        asks: list[tuple[str, Any]] = [
            ("/v1/embeddings", {"input": ["a red square"] * 3}),
            ("/search", {"text": "a red square", "top_k": 2}),
            ("/v2/rerank", {"query": "a red square", "documents": [shown(png(jitter=number)), "a dog"]}),
            ("/v1/tasks/grounding", {"input": {"image": shown(png("blue", "green")), "text": "a square"}}),
        ]
        while not self._stop.is_set():
            since, status = time.monotonic(), 0
            with suppress(OSError, HTTPException):
                status, _ = self._server.ask(*asks[number % len(asks)])
            self.found.append((since, status))
            if not status:
                time.sleep(0.05)
            number += 1

    def end(self) -> set[int]:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        return {status for _, status in self.found}


def ends_in_order(server: Served, chance: random.Random) -> None:
    """What a server has taken it answers though it is asked to end meanwhile."""
    asking = Asking(server, 12)
    time.sleep(chance.uniform(0.5, 2.0))
    asked = time.monotonic()
    assert server.stop() == 0
    asking.end()
    assert "Traceback" not in server.said()
    assert {status for since, status in asking.found if since < asked - 0.1} == {200}
    assert sum(status == 200 for _, status in asking.found) > 12


@thorough
@pytest.mark.slow
def test_what_was_taken_is_answered_at_sigterm_and_a_killed_server_is_up_again(
    model: Path, kept_collection: Path, tmp_path: Path
) -> None:
    chance, options = random.Random(0), ["--index", str(kept_collection)]
    question, clean, expected = {"text": "a red square", "top_k": 3}, 0.0, []
    for _ in range(max(1, KILLS // 2)):
        began = time.monotonic()
        with Served(model, tmp_path, options) as first:
            clean = max(clean, time.monotonic() - began)
            expected = [hit["key"] for hit in first.ask("/search", question)[1]["hits"]]
            ends_in_order(first, chance)
    for number in range(KILLS):
        began = time.monotonic()
        with Served(model, tmp_path, options) as server:
            assert time.monotonic() - began < clean * 1.5 + AGAIN, f"kill {number}: it took too long"
            assert [hit["key"] for hit in server.ask("/search", question)[1]["hits"]] == expected
            asking = Asking(server)
            time.sleep(chance.uniform(0.2, 2.0))
            server.kill()
            assert asking.end() <= {0, 200, 429}
            assert not server.left(5)
