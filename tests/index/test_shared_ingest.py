"""Collections that many fill: the same rows whoever encodes, nothing read twice, nothing lost by a kill."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.tiny import draw
from tests.index.conftest import photos as photos
from tests.refusals import expect_refusal
from xfm.data.skipped import SkippedRecords
from xfm.executors.executor import ArrayTask, Executor, LocalPool
from xfm.search.encoding import IndexWork
from xfm.search.index import Index, IngestCounts
from xfm.search.ingest import fill, fill_together
from xfm.search.journal import State
from xfm.search.opening import open_index
from xfm.search.sources import FolderSupply

pytest.importorskip("lancedb")
SIZE = 3


def filled(
    place: Path, work: IndexWork, executor: Executor | None = None, **limits: Any
) -> IngestCounts | None:
    """What was taken in; None of a member of an array that was not the last one."""
    told: list[IngestCounts] = []
    done = fill_together(
        place,
        work,
        lambda: open_index(place, work.model, make=True, device="cpu"),
        executor or LocalPool(1),
        lambda _, counts: told.append(counts),
        unit_rows=SIZE,
        **limits,
    )
    return told[0] if done else None


def rows(place: Path) -> dict[str, tuple[Any, ...]]:
    """The rows of a collection by their keys, with vectors as bytes."""
    import lancedb

    (table,) = (lancedb.connect(place / "lance").open_table(name) for name in ["pictures"])
    found = table.to_arrow().to_pylist()
    return {row["key"]: tuple((name, str(value)) for name, value in sorted(row.items())) for row in found}


def work_of(model: Path, *sources: Path, **more: Any) -> IndexWork:
    return IndexWork(str(model), sources, device="cpu", **more)


def test_rows_are_the_same_whoever_encodes(model: Path, photos: Path, tmp_path: Path) -> None:
    asked = work_of(model, photos)
    assert filled(tmp_path / "one", asked) == IngestCounts(12, 0, 0, 1, 1)
    members = [ArrayTask(f"{place}/2", 1) for place in (1, 0)]
    shares = [filled(tmp_path / "array", asked, member) for member in members]
    assert shares == [None, IngestCounts(12, 0, 0, 1, 1)]
    assert rows(tmp_path / "array") == rows(tmp_path / "one")
    assert not [*tmp_path.glob(".*.working")]
    with open_index(tmp_path / "plain", model, make=True) as index:
        fill(index, [FolderSupply(photos)], SkippedRecords(), progress=False)
        plain = {row.entry.key: row for row in index.store.nearest(np.ones(16, np.float32), 50)}
    with open_index(tmp_path / "one") as index:
        assert index.journal.counts() == {
            State.STORED: 12,
            State.WAITING: 0,
            State.DUPLICATE: 1,
            State.BAD: 1,
        }
        for row in index.store.nearest(np.ones(16, np.float32), 50):
            assert row.entry == plain[row.entry.key].entry
            assert row.similarity == pytest.approx(plain[row.entry.key].similarity, abs=1e-5)
            assert index.store.pixels([row.entry.key])


class _Stopping(LocalPool):
    """Ends when some units are taken in."""

    def __init__(self, after: int) -> None:
        super().__init__(1)
        self.after = after

    def run(self, function: Any, units: Any, done: Any) -> None:
        super().run(function, units[: self.after], done)
        raise KeyboardInterrupt


@pytest.mark.parametrize("where", ["between units", "while a unit is taken in"])
def test_a_run_that_is_stopped_goes_on(
    model: Path, photos: Path, tmp_path: Path, where: str, monkeypatch: Any
) -> None:
    asked = work_of(model, photos)
    filled(tmp_path / "whole", asked)
    if where == "between units":
        with pytest.raises(KeyboardInterrupt):
            filled(tmp_path / "index", asked, _Stopping(2))
    else:
        flush, calls = Index.flush, list[int]()

        def stopping(self: Index, least: int = 1) -> None:
            calls.append(least)
            if len(calls) == 6:  # two of the second unit's pictures wait in the journal
                raise KeyboardInterrupt
            flush(self, least)

        monkeypatch.setattr(Index, "flush", stopping)
        with pytest.raises(KeyboardInterrupt):
            filled(tmp_path / "index", asked)
        monkeypatch.undo()
    told = json.loads((tmp_path / ".index.working" / "taken.json").read_text())
    assert told["next"] == (2 if where == "between units" else 1)
    found = filled(tmp_path / "index", asked)
    assert found is not None
    assert (found.new + found.known, found.duplicates, found.bad) == (12, 1, 1)
    assert rows(tmp_path / "index") == rows(tmp_path / "whole")


@pytest.mark.parametrize(("good", "told"), [(1, "3 of the 4 rows")])
def test_a_source_of_which_little_is_left_is_refused(
    model: Path, tmp_path: Path, good: int, told: str
) -> None:
    (tmp_path / "photos").mkdir()
    for number in range(3):
        (tmp_path / "photos" / f"{number}.png").write_bytes(b"broken")
    for number in range(good):
        draw("red", "blue", jitter=number).save(tmp_path / "photos" / f"good{number}.png")
    with expect_refusal(told, "mend them" if not good else "--max-bad 3"):
        filled(tmp_path / "index", work_of(model, tmp_path / "photos"))
    for number in range(3):
        draw("green", "blue", jitter=number).save(tmp_path / "photos" / f"{number}.png")
    mended = filled(tmp_path / "index", work_of(model, tmp_path / "photos"))
    assert mended is not None
    assert (mended.bad, mended.known) == (0, good)
