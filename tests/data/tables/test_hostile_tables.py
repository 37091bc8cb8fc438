"""Tables that nobody has checked: gigantic, damaged, or written to do harm; commands name what is wrong."""

import gzip
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.data.tables.written import PICTURES, ROADS, png, read, write_parquet
from tests.refusals import expect_refusal
from xfm.core.errors import UserError
from xfm.data.tables import ColumnMap, read_table
from xfm.data.tables.table import open_table

Written = str | bytes | Callable[[Path], object]
GOOD = '{"text": "a", "label": "b"}\n'


def parquet(columns: dict[str, Any], change: Callable[[bytes], bytes] = bytes, **options: Any) -> Written:
    def write(path: Path) -> None:
        arrow, files = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
        arrays = {name: arrow.array(*values) for name, values in columns.items()}
        table = arrow.table([*arrays.values()], names=[name.rstrip("'") for name in arrays])
        files.write_table(table, path, **options)
        path.write_bytes(change(path.read_bytes()))

    return write


def damaged(change: Callable[[bytes], bytes]) -> Written:
    texts = [f"text {n}" for n in range(200)]
    return parquet({"text": (texts,), "label": (["a", "b"] * 100,)}, change, compression="gzip")


HOSTILE: dict[str, tuple[str, Written, tuple[str, ...]]] = {
    "too many cells": ("a.csv", "text,label\na,b\na,b,c\n", ("a.csv:3: ", "3 cells", "2 columns", "quotes")),
    "a quote without an end": ("a.csv", 'text,label\n"a,b\n', ("a.csv:2: ", "quotes")),
    "a column twice": ("a.csv", "text,text\na,b\n", ("a.csv: ", "'text'", "rename")),
    "no UTF-8": ("a.csv", b"text,label\n\xff,b\n", ("a.csv: ", "UTF-8")),
    "a gigantic cell": ("a.csv", "text,label\na,b\n" + "x" * 5_000_000 + ",b\n", ("a.csv:3: ", "larger")),
    "no JSON": ("a.jsonl", f"{GOOD}{{\n", ("a.jsonl:2: ", "JSON", "mend the row")),
    "deep JSON in a field": ("a.jsonl", f'{{"label": 3, "text": {"[" * 900}{"]" * 900}}}', ("a.jsonl:1: ",)),
    "half a character": (
        "a.jsonl", GOOD + '{"text": "\\ud83d", "label": "a"}', ("a.jsonl:2: ", '"text"', "Unicode"),
    ),
    "a row without an end": ("a.jsonl", GOOD + " " * (5 << 20), ("a.jsonl:2: ", "4194304 bytes", "mend")),
    "a pipe": ("a.jsonl", os.mkfifo, ("a.jsonl", "not a file")),
    "cut": (
        "a.csv.gz", gzip.compress(b"text,label\n" + b"a,b\n" * 9999)[:-20], ("damaged", "copy it again"),
    ),
    "another kind": ("a.xls", b"PK", ("a.xls", ".jsonl, .ndjson, .json, .csv, .tsv, .parquet", "convert")),
    "no Parquet": ("a.parquet", b"PAR1 not really", ("a.parquet ", "copy it again")),
    "rows of Parquet": (
        "a.parquet", damaged(lambda data: data[:20] + b"\xff" * 60 + data[80:]), ("copy it again",),
    ),
    "a moment without a date": (
        "a.parquet",
        parquet({"text": ([2**62], "timestamp[us]"), "label": (["a"],)}),
        ("a.parquet", "after row 0", "copy it again"),
    ),
    "a column of Parquet twice": (
        "a.parquet",
        parquet({"text": (["a"],), "text'": (["b"],), "label": (["b"],)}),
        ("a.parquet: ", "'text'", "rename"),
    ),
    "a large cell of Parquet": (
        "a.parquet",
        parquet({"text": (["a", "x" * (5 << 20)],), "label": (["a", "b"],)}, compression="zstd"),
        ("a.parquet:2: ", '"text"', "5242880 bytes", "shrink it"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", HOSTILE)
def test_every_command_names_what_is_wrong(tmp_path: Path, what: str) -> None:
    name, content, words = HOSTILE[what]
    path = tmp_path / name
    if callable(content):
        content(path)
    else:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    for road in ROADS.values():
        with expect_refusal(*words):
            road(path)


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfm.data.tables.delimited.LONGEST_LINE", 1000)
    (tmp_path / "a.csv").write_text("text,label\na,b\n" + "x" * 999 + ",b\n")
    with expect_refusal("a.csv:3: ", "the row has no end"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("text,label\na,b\n" + '"x\n",' * 500 + "b\n")  # cells of two lines each
    with expect_refusal("a.csv:3: ", "the row has no end"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("text,label\n" + f'"{"x" * 300}\n{"y" * 300}",b\n' * 9)
    assert len(read(tmp_path / "a.csv")) == 9
    (tmp_path / "a.csv").write_text("text,label\na,b\n" + "x" * 900 + ",b\n")
    assert len(read(tmp_path / "a.csv")) == 2


def test_a_packed_bomb_of_rows_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfm.data.tables.records.FREE", 100_000)
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(b"text,label\n" + b"a,b\n" * (5 << 20)))
    with expect_refusal("a.csv.gz", "expands to more than"):
        read(tmp_path / "a.csv.gz")


def test_a_local_folder_of_pictures_as_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library leaves such pictures where they lie; what a row names elsewhere is not read."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    for number, label in enumerate(("cat", "dog")):
        (tmp_path / "set" / "train" / label).mkdir(parents=True)
        (tmp_path / "set" / "train" / label / "1.png").write_bytes(png(number))
    found = read_table(f"hub:{tmp_path / 'set'}", PICTURES, ColumnMap(), tmp_path / "store")
    told = [(row.label("label"), row.path("image").parent.name) for row in found]
    assert told == [("cat", "cat"), ("dog", "dog")]
    features = {"image": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}
    evil = [{"image": {"bytes": data, "path": "/etc/hostname"}, "label": "a"} for data in (None, b"")]
    (tmp_path / "evil").mkdir()
    write_parquet(tmp_path / "evil" / "train.parquet", evil, features)
    found = read_table(f"hub:{tmp_path / 'evil'}", PICTURES, ColumnMap(), tmp_path / "store")
    with pytest.raises(UserError, match="lies outside"):
        found[0].path("image")


def test_a_file_whose_name_begins_as_those_of_the_hub_is_a_file(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "hub:own.csv").write_text("text\na cat\n")
    monkeypatch.chdir(tmp_path)
    assert [raw.cells for raw in open_table(Path("./hub:own.csv")).rows(frozenset({"text"}))] == [
        {"text": "a cat"}
    ]
