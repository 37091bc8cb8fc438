"""Collections that are damaged, or made to do harm: whoever opens one is told in a sentence."""

import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.picture_kinds import saved
from tests.evaluation.tiny import draw
from tests.processes import XFM, run
from xfm.config.pipelines import SearchOptions
from xfm.core.errors import UserError
from xfm.search.journal import JOURNAL, CollectionManifest, Journal, JournalItem, State
from xfm.search.opening import LANCE, open_index
from xfm.search.searching import Searcher
from xfm.search.sources import IngestItem
from xfm.search.store import IndexedImage, Row

lance = pytest.importorskip("lancedb") and pytest.importorskip("xfm.search.lance")
Damage = Callable[[Path], Any]
ENDLESS = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n"
PAIRS = [("red", "blue"), ("green", "red"), ("blue", "yellow")]


@pytest.fixture(scope="module")
def whole(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three pictures."""
    place = tmp_path_factory.mktemp("whole") / "index"
    offers = [IngestItem(f"p{n}", f"p{n}.png", draw(*pair), str(n), {"n": n}) for n, pair in enumerate(PAIRS)]
    with open_index(place, model, make=True) as index:
        index.add(offers)
    return place


def told(**fields: Any) -> Damage:
    """Other fields in `index.json`."""

    def damage(place: Path) -> None:
        path = place / "index.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | fields))

    return damage


def cut(*names: str) -> Damage:
    """Files that end in the middle."""

    def damage(place: Path) -> None:
        for name in names:
            for path in place.glob(name):
                path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    return damage


def gone(name: str) -> Damage:
    """A file or folder that is not there."""

    def damage(place: Path) -> None:
        path = place / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()

    return damage


def garbled(*names: str) -> Damage:
    """Files of other bytes."""

    def damage(place: Path) -> None:
        for name in names:
            for path in place.glob(name):
                path.write_bytes(np.random.default_rng(0).bytes(path.stat().st_size))

    return damage


def journal(*lines: str) -> Damage:
    """SQL in the journal."""

    def damage(place: Path) -> None:
        database = sqlite3.connect(place / JOURNAL)
        for line in lines:
            database.execute(line)
        database.commit()
        database.close()

    return damage


def rows(width: int = 0, **cells: Any) -> Damage:
    """A store with a row of ours whose cells are others."""

    def damage(place: Path) -> None:
        wide = width or CollectionManifest.read(place).width
        shutil.rmtree(place / LANCE)
        store = lance.LanceStore(place / LANCE, wide)
        vector = np.eye(wide, dtype=np.float32)[0]
        store.add([Row(IndexedImage("p0", "p0.png", 32, 32, png(32), {}), vector)], replacing=False)
        if cells:
            store._table.update(values=cells)

    return damage


def png(side: int) -> bytes:
    return saved(Image.new("RGB", (side, side)), "png")


DATA = f"{LANCE}/pictures.lance/data/*"
DAMAGES: dict[str, Damage] = {
    "about cut": cut("index.json"),
    "a probe of words": told(probe=["a"]),
    "a probe of endless numbers": told(probe=[10**400]),
    "fields of numbers": told(fields={"n": 5}),
    "no journal": gone(JOURNAL),
    "journal garbled": garbled(JOURNAL),
    "journal a pipe": lambda place: ((place / JOURNAL).unlink(), os.mkfifo(place / JOURNAL)),
    "a trigger": journal(
        f"CREATE TRIGGER t AFTER DELETE ON items BEGIN INSERT INTO items(key) {ENDLESS}; END"
    ),
    "no store": gone(LANCE),
    "store garbled": garbled(DATA),
    "other vectors": rows(width=8),
    "told cut": rows(told='["p0", '),
    "told of other kinds": rows(told='["p0", 7, "wide", null, {}]'),
    "told of endless numbers": rows(told=f'["p0", "p0.png", 1{"0" * 400}, 32, {{}}]'),
    "large pixels": rows(pixels=png(8000)),
}


def read(place: Path, where: list[str]) -> int:
    """What a search, a server and `stats` do; how many pictures were found."""
    with open_index(place, writing=False) as index:
        searcher = Searcher(index)
        found = searcher.search("a red square", options=SearchOptions(where=where))
        json.dumps(found.hits, allow_nan=False).encode()
        keys = [hit["key"] for hit in found.hits]
        marks = searcher.marks(keys)
        for key in keys:
            searcher.pixels(searcher.key_of(marks.get(key, key)))
        index.store.stats()
        index.journal.counts()
        return len(keys)


def write(place: Path) -> None:
    """What `add`, `remove` and `compact` do."""
    with open_index(place) as index:
        index.add([IngestItem("p3", "p3.png", draw("red", "green"), "3", {"n": 3})])
        index.compact()
        index.remove(["p0"], [])


def test_one_that_is_whole_is_read_and_written(whole: Path, tmp_path: Path) -> None:
    place = shutil.copytree(whole, tmp_path / "index")
    read(place, ["n>=0"])
    write(place)
    assert read(place, []) == 3


@pytest.mark.parametrize("name", DAMAGES)
def test_what_is_damaged_is_told_in_a_sentence(name: str, whole: Path, tmp_path: Path) -> None:
    place = shutil.copytree(whole, tmp_path / "index")
    DAMAGES[name](place)
    if name == "journal a pipe":  # one that fails here would never end
        said = run([*XFM, "index", "stats", str(place)], 400)
        assert said.status == 2, said.err
        assert "build the collection again" in said.err.splitlines()[-1]
        return
    with pytest.raises(UserError) as caught:
        read(place, [])
    assert "\n" not in str(caught.value)
    if "model" not in name:  # which is looked up
        words = ("again", "a new collection", "check the path")
        assert any(one in str(caught.value) for one in words), caught.value
    with suppress(UserError):
        write(place)


@pytest.mark.parametrize("readonly", [False, True])
def test_a_journal_that_another_holds_is_not_called_damaged(
    tmp_path: Path, readonly: bool, monkeypatch
) -> None:
    from xfm.search import journal as module

    monkeypatch.setattr(module, "_SECONDS", 0.1)
    Journal(tmp_path).close()
    holder = sqlite3.connect(tmp_path / JOURNAL, isolation_level=None)
    holder.execute("PRAGMA locking_mode = EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    with pytest.raises(UserError, match="locked") as caught:
        Journal(tmp_path, readonly).counts()
    holder.close()
    assert "damaged" not in str(caught.value)
    assert "remove" not in str(caught.value)


def test_a_full_disk_under_the_journal_asks_for_room_and_nothing_more(tmp_path: Path) -> None:
    own = Journal(tmp_path)
    pages = own._database.execute("PRAGMA page_count").fetchone()[0]
    own._database.execute(f"PRAGMA max_page_count = {pages + 2}")  # as SQLite ends on a full disk
    items = {"a": JournalItem(State.BAD, "", "no" * (1 << 20))}
    with pytest.raises(UserError, match="free some space") as caught:
        own.note(items)
    assert "remove" not in str(caught.value)
    assert "damaged" not in str(caught.value)
    own._database.execute("PRAGMA max_page_count = 100000")
    own.note(items)
    assert own.offered() == ["a"]
