"""The same rows from JSON, packed texts, workbooks and shards; what is damaged in them is named."""

import gzip
import json
import zipfile
from collections.abc import Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import write_tar
from tests.data.tables.written import PICTURES, ROADS, png, read
from tests.refusals import expect_refusal
from xfm.config.tables import PACKED, PLAIN, TABLES, sheet_of, table_kind
from xfm.data.images import UnreadablePicture
from xfm.data.tables.json_list import read_json
from xfm.data.tables.table import _READERS, read_shard

ROWS = [{"text": 'a "red", cat\n', "label": "cat"}, {"text": "größe", "label": "dog"}]
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


def plain(rows: Any) -> list[dict[str, Any]]:
    return [{name: row[name] for name in ("text", "label")} for row in rows]


def test_kinds_are_told_by_names() -> None:
    assert {*_READERS} == {*TABLES}
    for kind in TABLES:
        assert table_kind(f"a/b{kind.upper()}") == kind
        assert table_kind(f"a.b{kind}{PACKED}") == (kind if kind in PLAIN else None)
    assert table_kind("a.txt") is table_kind("a.gz") is table_kind("a.csv.zip") is None
    assert table_kind("a/b.xlsx@My Sheet") == ".xlsx"
    assert sheet_of("a/b.xlsx@My Sheet") == (Path("a/b.xlsx"), "My Sheet")
    assert sheet_of("a@b/c.csv") == (Path("a@b/c.csv"), None)


# ---------------------------------------------------------------- JSON
@settings(max_examples=30)
@given(
    rows=st.lists(st.dictionaries(st.text(max_size=8), values, max_size=4), max_size=6),
    indent=st.sampled_from([None, 0, 3]),
    ascii_only=st.booleans(),
    piece=st.sampled_from([1, 2, 7, 1 << 16]),
)
def test_a_list_is_read_as_json_reads_it(
    tmp_path_factory: pytest.TempPathFactory,
    rows: list[Any],
    indent: int | None,
    ascii_only: bool,
    piece: int,
) -> None:
    """However little of the file is held at a time."""
    path = tmp_path_factory.mktemp("json") / "a.json"
    path.write_text(json.dumps(rows, indent=indent, ensure_ascii=ascii_only), encoding="utf-8-sig")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("xfm.data.tables.json_list._PIECE", piece)
        found = [*read_json(path).rows(frozenset())]
    assert [row.cells for row in found] == rows
    assert [row.number for row in found] == [*range(1, len(rows) + 1)]
    if found:
        assert found[-1].read <= path.stat().st_size


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('"a"', ["a.json", "neither a list of objects"]),
        ('[{"text": "a", "label": "b"}', ["a.json:2", "no end"]),
        ('[{"text": "a", "label": "b"},]', ["a.json:2", "not valid JSON"]),
        ('[{"text": "a", "text": "b"}]', ["a.json:1", "there twice"]),
        ("[" + "[" * 200_000, ["a.json:1"]),
    ],
)
def test_what_is_wrong_with_a_list_is_named(tmp_path: Path, text: str, words: list[str]) -> None:
    (tmp_path / "a.json").write_text(text)
    for road in ROADS.values() if "no rows" not in words[0] else [read]:
        with expect_refusal(*words):
            road(tmp_path / "a.json")


# ---------------------------------------------------------------- packed
def test_packed_texts_give_the_same_rows(tmp_path: Path) -> None:
    written = {
        ".csv": "text,label\n"
        + "".join(f'"{r["text"]}",{r["label"]}\n'.replace('"red"', '""red""') for r in ROWS),
        ".jsonl": "\n".join(map(json.dumps, ROWS)),
        ".json": json.dumps(ROWS),
    }
    written |= {".tsv": "text\tlabel\na, b\tc\n", ".ndjson": written[".jsonl"]}
    assert {*written} == {*PLAIN}
    for kind, text in written.items():
        (tmp_path / f"a{kind}").write_text(text)
        (tmp_path / f"b{kind}.gz").write_bytes(gzip.compress(text.encode()))
        assert plain(read(tmp_path / f"b{kind}.gz")) == plain(read(tmp_path / f"a{kind}"))
        assert kind == ".tsv" or plain(read(tmp_path / f"b{kind}.gz")) == ROWS


PACKS: dict[str, tuple[bytes, list[str]]] = {
    "cut": (gzip.compress(b"text,label\n" + b"a,b\n" * 9999)[:-20], ["damaged", "copy it again"]),
    "a bomb of rows": (gzip.compress(b"text,label\n" + b"a,b\n" * (5 << 20), 9), ["expands to more than"]),
}


@pytest.mark.parametrize("what", PACKS)
def test_what_is_packed_badly_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    content, words = PACKS[what]
    monkeypatch.setattr("xfm.data.tables.records.FREE", 100_000)
    (tmp_path / "a.csv.gz").write_bytes(content)
    with expect_refusal("a.csv.gz", *words):
        read(tmp_path / "a.csv.gz")


# ---------------------------------------------------------------- workbooks
def workbook(path: Path, sheets: Mapping[str, list[list[Any]]]) -> Path:
    book = pytest.importorskip("openpyxl").Workbook()
    book.remove(book.active)
    for name, rows in sheets.items():
        sheet = book.create_sheet(name)
        for row in rows:
            sheet.append(row)
    book.save(path)
    return path


def test_sheets_of_a_workbook(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [["text", "label", None], *([row["text"], row["label"]] for row in ROWS)]
    one = workbook(tmp_path / "one.xlsx", {"Data": rows})
    assert plain(read(one)) == ROWS
    assert capsys.readouterr().err == ""
    more = [["text", "label"], ["a", 1], [None, None], [date(2020, 1, 2), 2.5], ["b", True]]
    two = workbook(tmp_path / "two.xlsx", {"Data": rows, "My Sheet": more})
    assert plain(read(two)) == ROWS
    assert "two.xlsx has 2 sheets (Data, My Sheet) and the first is read" in capsys.readouterr().err
    found = read(Path(f"{two}@My Sheet"))
    assert [row.number for row in found] == [2, 4, 5]
    assert [row.label("label") for row in found] == ["1", "2.5", "true"]
    assert found[1].text("text") == "2020-01-02T00:00:00"
    assert found[0].place == f"{two}@My Sheet:2"
    assert capsys.readouterr().err == ""
    with expect_refusal("two.xlsx", "'Other'", "Data, My Sheet"):
        read(Path(f"{two}@Other"))


def changed(path: Path, change: Callable[[str, bytes], bytes]) -> Path:
    target = path.with_name("changed.xlsx")
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as new:
        for part in old.infolist():
            new.writestr(part.filename, change(part.filename, old.read(part)))
    return target


def in_sheet(old: bytes, new: bytes) -> Callable[[str, bytes], bytes]:
    return lambda name, data: data.replace(old, new, 1) if "worksheets" in name else data


LAUGHS = b"<!DOCTYPE a [<!ENTITY a0 'ha'>%s]>" % b"".join(
    b"<!ENTITY a%d '%s'>" % (n, b"&a%d;" % (n - 1) * 10) for n in range(1, 12)
)
OUTSIDE = b"<!DOCTYPE a [<!ENTITY a11 SYSTEM 'file:///etc/passwd'>]>"


def with_entity(head: bytes) -> Callable[[str, bytes], bytes]:
    cell = in_sheet(b"</row>", b"<c t='inlineStr'><is><t>&a11;</t></is></c></row>")
    return lambda name, data: cell(name, in_sheet(b"<worksheet", head + b"<worksheet")(name, data))


WORKBOOKS: dict[str, tuple[Callable[[str, bytes], bytes], list[str]]] = {
    "entities": (with_entity(LAUGHS), ["cannot be read as a workbook"]),
    "a file from outside": (with_entity(OUTSIDE), ["cannot be read as a workbook"]),
    "a row of cells": (in_sheet(b"</row>", b"<c/>" * (1 << 20) + b"</row>"), ["more than 64 MiB of memory"]),
}


@pytest.mark.parametrize("what", WORKBOOKS)
def test_what_workbooks_can_do_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str) -> None:
    change, words = WORKBOOKS[what]
    monkeypatch.setattr("xfm.core.sandbox.MEMORY", 64 << 20)
    good = workbook(tmp_path / "a.xlsx", {"A": [["text", "label"], ["a", "b"]]})
    with expect_refusal("changed.xlsx", *words):
        read(changed(good, change))


# ---------------------------------------------------------------- shards
def test_members_of_a_key_are_a_row(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    members = {
        "a/0.png": png(1), "a/0.txt": b"a cat", "a/0.cls": b"3\n", "a/0.json": 
        b'{"box": [1, 2], "key": "own"}',
        "a/1.left.png": png(2), "a/1.right.png": png(3), "a/1.caption.txt": b"two", "a/1.npy": b"-",
        "notes.md": b"",
    }  # fmt: skip
    records = read_shard(write_tar(tmp_path / "a.tar", members))
    first, second = (row.cells for row in records.rows(frozenset()))
    assert first == {"key": "own", "image": png(1), "text": "a cat", "label": "3", "box": [1, 2]}
    assert second == {"key": "a/1", "left": png(2), "right": png(3), "caption": "two"}
    (row,) = read(
        write_tar(tmp_path / "b.tar", {name: members[name] for name in ("a/0.png", "a/0.cls", "a/0.txt")}),
        PICTURES,
    )
    assert row.path("image").parent == tmp_path / "store"
    assert row.path("image").read_bytes() == png(1)
    assert (row.label("label"), row.place) == ("3", f"{tmp_path}/b.tar:1")


def test_a_picture_that_is_too_large_is_left_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfm.data.tables.table.byte_limit", lambda: 10)
    (row,) = read(write_tar(tmp_path / "a.tar", {"a.png": png(1), "a.cls": b"1"}), PICTURES)
    with pytest.raises(UnreadablePicture, match=r"a\.tar:1"):
        row.path("image")
