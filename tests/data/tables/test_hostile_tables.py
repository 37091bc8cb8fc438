"""Tables that nobody has checked: gigantic, damaged, or written to do harm; commands name what is wrong."""

import json
import math
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.data.tables.written import PICTURES, ROADS, png, read, row, write_parquet
from tests.refusals import expect_refusal
from xfm.config.task_spec import Field
from xfm.core.errors import UserError
from xfm.data.parsers import parquet_batches
from xfm.data.tables import ColumnMap, TableRow, read_table

Written = str | bytes | Callable[[Path], object] | None
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
    "too few cells": ("a.tsv", "text\tlabel\na\n", ("a.tsv:2: ", "1 cells", "2 columns")),
    "a quote without an end": ("a.csv", 'text,label\n"a,b\n', ("a.csv:2: ", "quotes")),
    "a column twice": ("a.csv", "text,text\na,b\n", ("a.csv: ", "'text'", "rename")),
    "no header": ("a.csv", "", ("a.csv: ", "write a header")),
    "no UTF-8": ("a.csv", b"text,label\n\xff,b\n", ("a.csv: ", "UTF-8")),
    "UTF-16": ("a.csv", "text,label\na,b\n".encode("utf-16"), ("a.csv: ", "UTF-8")),
    "another column": ("a.csv", "txt,label\na,b\n", ("a.csv: ", "'text'", "txt, label", "--columns")),
    "an empty cell": ("a.csv", "text,label\n ,b\n", ("a.csv:2: ", '"text"', "mend the row")),
    "a gigantic cell": ("a.csv", "text,label\na,b\n" + "x" * 5_000_000 + ",b\n", ("a.csv:3: ", "larger")),
    "a cell of many lines": ("a.csv", 'text,label\n"' + "x\n" * 2_500_000 + '",b\n', ("a.csv:2: ", "quotes")),
    "no JSON": ("a.jsonl", f"{GOOD}{{\n", ("a.jsonl:2: ", "JSON", "mend the row")),
    "no object": ("a.jsonl", f"{GOOD}[1]\n", ("a.jsonl:2: ", "object", "mend the row")),
    "deep JSON": ("a.jsonl", "[" * 100_000, ("a.jsonl:1: ", "JSON", "mend the row")),
    "deep JSON in a field": ("a.jsonl", f'{{"label": 3, "text": {"[" * 900}{"]" * 900}}}', ("a.jsonl:1: ",)),
    "a row without the field": ("a.jsonl", GOOD + '{"label": "a"}', ("a.jsonl:2: ", '"text"', "mend")),
    "a row that is no text": (
        "a.jsonl", GOOD + '{"text": {}, "label": "a"}', ("a.jsonl:2: ", '"text" is not a text', "mend"),
    ),
    "half a character": (
        "a.jsonl", GOOD + '{"text": "\\ud83d", "label": "a"}', ("a.jsonl:2: ", '"text"', "Unicode"),
    ),
    "a line of bytes": ("a.jsonl", GOOD.encode() + b"\xff\xff\n", ("a.jsonl:2: ", "UTF-8", "save")),
    "a row without an end": ("a.jsonl", GOOD + " " * (5 << 20), ("a.jsonl:2: ", "4194304 bytes", "mend")),
    "a pipe": ("a.jsonl", os.mkfifo, ("a.jsonl", "not a file")),
    "a folder": ("a.csv", os.mkdir, ("a.csv", "pictures")),
    "no file": ("a.csv", None, ("a.csv: ", "check the path")),
    "another kind": ("a.xls", b"PK", ("a.xls", ".jsonl, .ndjson, .json, .csv, .tsv, .parquet", "convert")),
    "too long a name": ("x" * 5000 + ".csv", None, ("check the path",)),
    "a name that is none": ("a\0.csv", None, ("check the path",)),
    "no Parquet": ("a.parquet", b"PAR1 not really", ("a.parquet ", "copy it again")),
    "nothing of Parquet": ("a.parquet", b"", ("a.parquet ", "copy it again")),
    "half of Parquet": ("a.parquet", damaged(lambda data: data[: len(data) // 2]), ("copy it again",)),
    "a footer's length": (
        "a.parquet", damaged(lambda data: data[:-8] + b"\xff" * 4 + data[-4:]), ("copy it again",),
    ),
    "a footer of zeros": (
        "a.parquet",
        damaged(lambda data: data[:4] + b"\0" * (len(data) - 12) + data[-8:]),
        ("a.parquet", "copy it again"),
    ),
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


@pytest.mark.parametrize("road", ROADS)
@pytest.mark.parametrize("what", HOSTILE)
def test_every_command_names_what_is_wrong(tmp_path: Path, what: str, road: str) -> None:
    name, content, words = HOSTILE[what]
    path = tmp_path / name
    if callable(content):
        content(path)
    elif content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with expect_refusal(*words):
        ROADS[road](path)


def test_a_header_of_any_width(tmp_path: Path) -> None:
    """100,000 columns are read as quickly as they are written, and one of them may have a long name."""
    path = tmp_path / "a.csv"
    names = ["text", "label", "x" * 200_000, *(f"c{n}" for n in range(100_000))]
    path.write_text(",".join(names) + "\n" + "a,b" + "," * (len(names) - 2) + "\n")
    began = time.process_time()
    assert [dict(row) for row in read(path)] == [{"text": "a", "label": "b"}]
    with pytest.raises(UserError, match="no column 'other'") as error:
        read(path, columns="label=other")
    assert len(str(error.value)) < 600
    assert time.process_time() - began < 20


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfm.data.tables.delimited.LONGEST_LINE", 1000)
    (tmp_path / "a.csv").write_text("text,label\na,b\n" + "x" * 999 + ",b\n")
    with expect_refusal("a.csv:3: ", "the line has no end"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("text,label\na,b\n" + '"x\n",' * 500 + "b\n")  # cells of two lines each
    with expect_refusal("a.csv:3: ", "the row has no end"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("text,label\n" + f'"{"x" * 300}\n{"y" * 300}",b\n' * 9)
    assert len(read(tmp_path / "a.csv")) == 9
    (tmp_path / "a.csv").write_text("text,label\na,b\n" + "x" * 900 + ",b\n")
    assert len(read(tmp_path / "a.csv")) == 2


def test_half_characters_are_named() -> None:
    """JSON may hold half a surrogate pair, which no tokenizer takes."""
    half = json.loads('"a \\ud83d"')
    for call in (
        lambda: row(x=half).text("x"),
        lambda: row(x=[half]).texts("x"),
        lambda: row(x=[{"answer": half}]).votes("x"),
        lambda: row(x=half).label("x"),
    ):
        with expect_refusal('the column "x"'):
            call()


def test_a_cell_has_so_many_labels_and_texts() -> None:
    row = TableRow({"label": "|".join(map(str, range(1000))), "text": ["x"] * 10_000}, Path("a.csv"), 3)
    assert len(row.labels("label", "|")) == 1000
    assert len(row.texts("text")) == 10_000
    row = TableRow({"label": "|".join(map(str, range(1001))), "text": ["x"] * 10_001}, Path("a.csv"), 3)
    with expect_refusal("a.csv:3: ", '"label"', "1001 labels, more than 1000"):
        row.labels("label", "|")
    with expect_refusal("a.csv:3: ", '"text"', "10001 texts, more than 10000"):
        row.texts("text")


def test_numbers_as_texts_and_labels() -> None:
    """Large numbers that differ are different classes, and NaN is an empty cell."""
    labels = [row(x=number).label("x") for number in (1234567.0, 1234568.0, 0.1 + 0.2)]
    assert labels == ["1234567", "1234568", "0.3"]
    assert not row(x=math.nan).has("x")
    with expect_refusal('the column "x" is empty'):
        row(x=math.nan).text("x")
    with expect_refusal('the column "x" is not a text'):  # to write it takes hours
        row(x=10**1_000_000).text("x")


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


def test_rows_with_pictures_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    """All at once they would be gigabytes; a dictionary of all of them stays where the file is read."""
    rng = np.random.default_rng(0)
    rows = [{"image": rng.bytes(1 << 20), "label": f"{n}"} for n in range(100)]
    for options in ({}, {"use_dictionary": False}):
        write_parquet(tmp_path / "a.parquet", rows, **options)
        pieces = [
            len(piece) for piece in parquet_batches(str(tmp_path / "a.parquet"), [0], ["image", "label"])
        ]
        assert len(pieces) > 2
        assert max(pieces) < 40 << 20
        found = read(tmp_path / "a.parquet", PICTURES)
        assert [row.label("label") for row in found] == [*map(str, range(100))]


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('<row r="3"', '<row r="7"', "row 4 stands behind row 7"),
        ('<row r="4"', '<row r="3"', "row 3 stands behind row 3"),
        ('<row r="4"', '<row r="1048577"', "row 1048577 stands behind row 3"),
        ('t="n"><v>2</v>', 't="e"><v>#N/A</v>', "2: "),
    ],
)
def test_rows_of_a_workbook_are_neither_lost_nor_errors(
    old: str, new: str, words: str, tmp_path: Path
) -> None:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    for cells in (["number"], [2], [3], [4]):
        book.active.append(cells)
    book.save(tmp_path / "good.xlsx")
    with zipfile.ZipFile(tmp_path / "good.xlsx") as good, zipfile.ZipFile(tmp_path / "t.xlsx", "w") as made:
        for name in good.namelist():
            text = good.read(name)
            made.writestr(name, text.replace(old.encode(), new.encode()) if "sheet1" in name else text)
    with expect_refusal("t.xlsx", words):
        for one in read(tmp_path / "t.xlsx", (Field("number"),)):
            one.value("number")
