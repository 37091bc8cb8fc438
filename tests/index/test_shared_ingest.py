"""Collections that many fill: the same rows whoever encodes, nothing read twice, nothing lost by a stop."""

from collections.abc import Iterable
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.index.conftest import photos as photos
from xfm.data.skipped import SkippedRecords
from xfm.executors.executor import Executor, LocalPool
from xfm.search.index import IngestCounts
from xfm.search.ingest import encode_unit, fill
from xfm.search.journal import Journal, State
from xfm.search.opening import open_index
from xfm.search.sources import FolderSupply

pytest.importorskip("lancedb")
SIZE = 3


def filled(place: Path, model: Path, photos: Path, executor: Executor | None = None) -> IngestCounts:
    """What was taken in."""
    with open_index(place, model, make=True, device="cpu") as index:
        shared = executor or LocalPool(1), partial(encode_unit, str(model), "cpu"), SIZE
        return fill(index, [FolderSupply(photos)], SkippedRecords(), False, *shared)


def rows(place: Path) -> dict[str, tuple[Any, ...]]:
    """The rows of a collection by their keys, with vectors as bytes."""
    import lancedb

    (table,) = (lancedb.connect(place / "lance").open_table(name) for name in ["pictures"])
    found = table.to_arrow().to_pylist()
    return {row["key"]: tuple((name, str(value)) for name, value in sorted(row.items())) for row in found}


class Backwards(Executor):
    """Does units in another order."""

    def run(self, function: Any, units: Iterable[Any], done: Any) -> None:
        for unit in [*units][::-1]:
            done(unit, function(unit))


class Refusing(Executor):
    """Has nothing to do."""

    def run(self, function: Any, units: Iterable[Any], done: Any) -> None:
        for unit in units:
            assert not unit[1]
            done(unit, {})


def test_rows_are_the_same_whoever_encodes(model: Path, photos: Path, tmp_path: Path) -> None:
    for name, executor in (("one", LocalPool(1)), ("two", LocalPool(2)), ("back", Backwards())):
        assert filled(tmp_path / name, model, photos, executor) == IngestCounts(12, 0, 0, 1, 1)
        assert rows(tmp_path / name) == rows(tmp_path / "one")
    with open_index(tmp_path / "plain", model, make=True) as index:
        fill(index, [FolderSupply(photos)], SkippedRecords(), progress=False)
        index._reader = None  # pyright: ignore[reportAttributeAccessIssue] # known ones are not read again
        known = IngestCounts(0, 0, 12, 1, 1)
        assert fill(index, [FolderSupply(photos)], SkippedRecords(), progress=False) == known
        assert filled(tmp_path / "one", model, photos, Refusing()) == known
        plain = {row.entry.key: row for row in index.store.nearest(np.ones(16, np.float32), 50)}
    with open_index(tmp_path / "one") as index:
        assert index.journal.counts() == {State.STORED: 12, State.DUPLICATE: 1, State.BAD: 1}
        for row in index.store.nearest(np.ones(16, np.float32), 50):
            assert row.entry == plain[row.entry.key].entry
            assert row.similarity == pytest.approx(plain[row.entry.key].similarity, abs=1e-5)
            assert index.store.pixels([row.entry.key])


class Stopping(LocalPool):
    """Ends when some units are taken in."""

    def run(self, function: Any, units: Iterable[Any], done: Any) -> None:
        super().run(function, islice(units, 2), done)
        raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["between units", "while a unit is taken in"])
def test_a_run_that_is_stopped_goes_on(
    model: Path, photos: Path, tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    filled(tmp_path / "whole", model, photos)
    note, calls = Journal.note, list[int]()

    def stopping(self: Journal, items: Any) -> None:
        calls.append(1)
        if len(calls) == 2:  # the rows are stored
            raise KeyboardInterrupt
        note(self, items)

    if where == "while a unit is taken in":
        monkeypatch.setattr(Journal, "note", stopping)
    with pytest.raises(KeyboardInterrupt):
        filled(tmp_path / "index", model, photos, Stopping(1))
    monkeypatch.undo()
    found = filled(tmp_path / "index", model, photos)
    assert (found.new + found.known, found.duplicates, found.bad) == (12, 1, 1)
    assert rows(tmp_path / "index") == rows(tmp_path / "whole")
