"""A process is killed while it takes pictures in or out, or makes the store compact; another one reads."""

import contextlib
import multiprocessing
import os
import random
import time
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.alike import thorough
from xfm.config.pipelines import SearchOptions
from xfm.search.journal import Journal
from xfm.search.opening import open_index
from xfm.search.searching import Searcher
from xfm.search.sources import IngestItem

pytest.importorskip("lancedb")
KILLS = int(os.environ.get("XFM_KILLS", "1"))
"""Processes that are killed; more are asked for by the environment."""


def offer(number: int) -> IngestItem:
    """A picture like no other."""
    cells = np.random.default_rng(number).integers(256, size=(8, 8, 3), dtype=np.uint8)
    picture = Image.fromarray(cells).resize((32, 32), Image.Resampling.NEAREST)
    return IngestItem(f"p{number}", f"p{number}.png", picture, str(number), {"number": float(number)})


def write(folder: Path, model: Path, first: int, told: Connection) -> None:
    """Take pictures in, one of four out again, and make compact now and then; tell what is done."""
    from xfm.search import index as module
    from xfm.search import lance

    module.TOGETHER, lance._PARTS = 4, 6
    with open_index(folder, model if first == 0 else None, make=True) as index:
        told.send(("open", first))
        for number in range(first, first + 100_000):
            index.add([offer(number)])
            told.send(("in", number))
            if number % 4 == 3:
                index.remove([f"p{number - 2}"])
                told.send(("out", number - 2))
            if number % 10 == 9:
                index.compact()


def acknowledged(told: Connection) -> list[tuple[str, int]]:
    """What was told before the end."""
    found: list[tuple[str, int]] = []
    with contextlib.suppress(EOFError, OSError):
        while True:
            found.append(told.recv())
    return found


@thorough
def test_nothing_that_was_acknowledged_is_lost(model: Path, tmp_path: Path) -> None:
    folder, rng, expected = tmp_path / "index", random.Random(0), set[int]()
    started = multiprocessing.get_context("forkserver")
    started.set_forkserver_preload(["xfm.search.index", "xfm.inference.pipeline"])
    searches = 0
    for kill in range(KILLS):
        told, telling = started.Pipe(duplex=False)
        first = 100_000 * kill
        process = started.Process(target=write, args=(folder, model, first, telling))
        process.start()
        telling.close()
        assert told.recv() == ("open", first)
        ends = time.monotonic() + rng.uniform(0.05, 2.5)
        with open_index(folder, writing=False) as reader:  # beside the writer, until that is no more
            searcher = Searcher(reader)
            while True:
                answer = searcher.search("a square", options=SearchOptions(top_k=3, rerank=3))
                searches += 1
                assert len(answer.hits) >= min(3, len(expected))
                if time.monotonic() > ends:
                    break
            process.kill()
            done = acknowledged(told)
            process.join()
            for what, number in done:
                (expected.add if what == "in" else expected.discard)(number)
            coming, going = under_way(done, first)
            searcher.search("a square")
        check_readable(folder, expected - going)
        check_whole(folder, expected, coming | going)
    assert searches >= KILLS


def under_way(done: list[tuple[str, int]], first: int) -> tuple[set[int], set[int]]:
    """What may have been coming in, and what going out, after what was told last."""
    what, number = done[-1] if done else ("in", first - 1)
    if what == "in" and number >= first and number % 4 == 3:
        return set(), {number - 2}
    return {number + (1 if what == "in" else 3)}, set()


def check_readable(folder: Path, expected: set[int]) -> None:
    """A new reader finds everything before anybody has opened the collection for writing again."""
    with open_index(folder, writing=False) as index:
        options = SearchOptions(top_k=1000, rerank=0)
        found = {hit["key"] for hit in Searcher(index).search("a square", options=options).hits}
    assert len(found) >= min(1000, len(expected))
    if len(expected) < 900:
        assert {f"p{number}" for number in expected} <= found


def check_whole(folder: Path, expected: set[int], under_way: set[int]) -> None:
    """Rows and journal agree, and hold what was acknowledged; at most one more call was under way."""
    with open_index(folder) as index:
        index.compact()
        rows = {int(key[1:]) for key in [*index.store.keys()]}
        assert len(index) == len(rows)
    journal = Journal(folder, readonly=True)
    stored = {int(key[1:]) for key in journal.offered()}
    assert rows == stored
    journal.close()
    assert rows ^ expected <= under_way
    expected.symmetric_difference_update(rows ^ expected)
