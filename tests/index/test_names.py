"""Pictures of two tables that have one name: none takes another's place unless that was asked for."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.tiny import COLOURS, draw
from xfm.data.skipped import SkippedRecords
from xfm.search.index import Index, IngestCounts
from xfm.search.ingest import fill, said
from xfm.search.opening import open_index
from xfm.search.sources import open_supply

pytest.importorskip("lancedb")
PAIRS = [(left, right) for left in COLOURS for right in COLOURS if left != right]


def table(path: Path, first: int, *ids: int) -> Path:
    """A table of pictures that no other one has."""
    rows = list[dict[str, Any]]()
    for place, name in enumerate(ids, start=first):
        draw(*PAIRS[place]).save(path.parent / f"{place}.png")
        rows.append({"id": name, "image": f"{place}.png"})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def tables(tmp_path: Path) -> list[Path]:
    """Two of three pictures each, two of which have names of the other table."""
    return [table(tmp_path / "a.jsonl", 0, 1, 2, 3), table(tmp_path / "b.jsonl", 3, 2, 3, 4)]


def filled(index: Index, tables: list[Path], key: str | None = None) -> IngestCounts:
    sources = [open_supply(path, key=key) for path in tables]
    return fill(index, sources, SkippedRecords(), progress=False)


def sources(index: Index) -> dict[str, str]:
    """The file of each picture."""
    near = index.store.nearest(np.ones(index.about.width, np.float32), 50)
    return {one.entry.key: Path(one.entry.source).name for one in near}


OWN = {"1": "0.png", "2": "1.png", "3": "2.png", "4": "5.png"}
TAKEN_OVER = {**OWN, "2": "3.png", "3": "4.png"}


def test_the_id_of_another_table_is_left_out_and_counted(
    model: Path, tmp_path: Path, tables: list[Path], capsys: Any
) -> None:
    with open_index(tmp_path / "index", model, make=True) as index:
        counts = filled(index, tables)
        assert counts == IngestCounts(new=4, clashing=2)
        assert "2 with the name of one of another table, left out" in said(counts)
        assert f"Note: 2 is the id of a picture of {tables[0]}, too" in capsys.readouterr().err
        assert sources(index) == OWN
        assert filled(index, tables) == IngestCounts(known=4, clashing=2)
        table(tables[0], 6, 1, 2, 3)  # a table may change its own
        assert filled(index, tables) == IngestCounts(replaced=3, known=1, clashing=2)


def test_what_a_key_names_takes_the_place_of_others_and_is_counted(
    model: Path, tmp_path: Path, tables: list[Path]
) -> None:
    with open_index(tmp_path / "index", model, make=True) as index:
        counts = filled(index, tables, key="id")
        assert counts == IngestCounts(new=4, displaced=2)
        assert "2 in the place of those of another table" in said(counts)
        assert sources(index) == TAKEN_OVER
        (tmp_path / "2.png").write_bytes(b"no picture")
        assert filled(index, tables[:1], key="id") == IngestCounts(displaced=1, known=1, bad=1)
        assert sources(index) == {**TAKEN_OVER, "2": "1.png"}  # what cannot be read takes no place
    with open_index(tmp_path / "both", model, make=True) as index:
        table(tables[0], 0, 1, 2, 3)
        assert filled(index, tables, key="image") == IngestCounts(new=6)
