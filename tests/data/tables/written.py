"""Tables that tests write, and the roads by which commands read them."""

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from PIL import Image

from tests.data.picture_kinds import saved
from xfm.cli.evaluate import _read_labelled
from xfm.config.task_spec import FieldKind
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError
from xfm.data.skipped import SkippedRecords
from xfm.data.tables import ColumnMap, Field, TableRow, read_table
from xfm.inference.row_sources import ReadOptions, open_rows

FIELDS = (
    Field("text", "the text"),
    Field("label", "the class"),
    Field("second", "another text", optional=True),
)
PICTURES = (Field("image", "the picture", FieldKind.PICTURE), Field("label", "the class"))


def read(path: Path, fields: tuple[Field, ...] = FIELDS, columns: str = "", **options: Any) -> list[TableRow]:
    return read_table(path, fields, ColumnMap.parse(columns), path.parent / "store", **options)


def _fine_tune(path: Path) -> None:
    for row in read(path):
        assert row.text("text")
        assert row.label("label")


def _predict(path: Path) -> None:
    """A row that cannot be used ends the reading, as the first does where none may be passed over."""
    reading = ReadOptions(task_spec("text-classification").inputs)
    for row in open_rows(path, reading).rows(0, frozenset()):
        if isinstance(row.given, UserError):
            raise UserError(f"{row.place}: {row.given}")


def _probe(path: Path) -> None:
    options: Any = SimpleNamespace(columns="image=text", pictures=None)
    _read_labelled(str(path), path.parent / "out", options, SkippedRecords())


ROADS: dict[str, Callable[[Path], object]] = {"fine-tuning": _fine_tune, "predict": _predict, "probe": _probe}
"""Reads texts (of a probe: paths) with labels."""


def write_parquet(path: Path, rows: list[dict[str, Any]], features: Any = None, **options: Any) -> None:
    arrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    said = {"huggingface": json.dumps({"info": {"features": features}})} if features else None
    parquet.write_table(arrow.Table.from_pylist(rows).replace_schema_metadata(said), path, **options)


def write_repeated(
    path: Path, value: bytes | str, rows: int, column: str = "image", nested: bool = False
) -> Path:
    """A file of one value in many rows, stored once (or inside the hub's structure), with two labels."""
    arrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    indices = arrow.array([0] * rows, arrow.int32())
    cells = arrow.DictionaryArray.from_arrays(indices, arrow.array([value]))
    if nested:
        cells = arrow.StructArray.from_arrays([cells, arrow.array(["a.png"] * rows)], ["bytes", "path"])
    table = arrow.table({column: cells, "label": ["a", "b"] * (rows // 2)})
    options = {"compression": "zstd", "write_statistics": False, "dictionary_pagesize_limit": 1 << 30}
    parquet.write_table(table, path, **options)
    return path


def row(root: Path | None = None, **fields: Any) -> TableRow:
    return TableRow(fields, Path("/data/sets/a.csv"), 7, {"box": "bbox"}, root)


def png(shade: int) -> bytes:
    return saved(Image.new("RGB", (6, 4), (shade, 9, 9)), "PNG")
