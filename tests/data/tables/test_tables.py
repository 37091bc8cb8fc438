"""The same rows from every kind of table, and messages that name file, row and column."""

import csv
import gzip
import json
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.tables.written import FIELDS, PICTURES, png, read, row, write_parquet
from tests.refusals import expect_refusal
from xfm.config.tables import PLAIN
from xfm.config.task_spec import FieldKind
from xfm.core.errors import UserError
from xfm.data.images import decode
from xfm.data.tables import ColumnMap, Field, TableRow, read_table, split_rows
from xfm.data.tables.json_list import read_json_records

cell = st.text(
    st.characters(exclude_categories=("Cs", "Cc"), include_characters='",;\t\n'), min_size=1, max_size=12
).filter(lambda text: bool(text.strip()) and "\r" not in text)

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
IMAGES = Field("images", "both", FieldKind.TWO_PICTURES, parts=("left", "right"))
ROW = '{"text": "a", "label": "b"}'


@settings(max_examples=30)
@given(rows=st.lists(st.tuples(cell, cell), min_size=1, max_size=6), delimiter=st.sampled_from(",;\t|"))
def test_csv_holds_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str]], delimiter: str
) -> None:
    path = tmp_path_factory.mktemp("csv") / ("a.tsv" if delimiter == "\t" else "a.csv")
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter, quoting=csv.QUOTE_ALL)
        writer.writerows([("text", "label"), *rows])
    found = read(path)
    assert [(row["text"], row["label"]) for row in found] == rows


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
        found = [*read_json_records(path).rows(frozenset())]
    assert [row.cells for row in found] == rows
    assert [row.number for row in found] == [*range(1, len(rows) + 1)]
    if found:
        assert found[-1].read <= path.stat().st_size


def test_all_formats_give_the_same_rows(tmp_path: Path) -> None:
    """Packed texts, too."""
    rows = [{"q": "größe", "k": "cat", "extra": 1}, {"q": 'a dog, "big"\n', "k": "dog", "extra": 2}]
    for name, delimiter in (("a.csv", ","), ("a.tsv", "\t"), ("b.csv", ";")):
        with (tmp_path / name).open("w", newline="", encoding="utf-8-sig") as file:
            writer = csv.DictWriter(file, ["q", "k", "extra"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    (tmp_path / "a.json").write_text(json.dumps(rows))
    for name in ("a.jsonl", "a.ndjson"):
        (tmp_path / name).write_text("\n".join(map(json.dumps, rows)))
    assert {path.suffix for path in tmp_path.iterdir()} == {*PLAIN}
    for path in [*tmp_path.iterdir()]:
        (tmp_path / f"{path.name}.gz").write_bytes(gzip.compress(path.read_bytes()))
    write_parquet(tmp_path / "a.parquet", rows)
    for path in [*tmp_path.iterdir()]:
        found = read(path, columns="text=q,label=k")
        assert [dict(row) for row in found] == [{"text": r["q"], "label": r["k"]} for r in rows], path
        assert found[1].names == {"text": "q", "label": "k", "second": "second"}


def test_rows_are_numbered_by_their_first_line(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text,label\n"two\nlines",x\n\nplain,y\n')
    assert [row.place for row in read(tmp_path / "a.csv")] == [f"{tmp_path}/a.csv:2", f"{tmp_path}/a.csv:5"]


def test_an_empty_column_says_that_there_is_none(tmp_path: Path) -> None:
    for name, content in (("a.csv", "text,label,second\na,b,c"), ("a.jsonl", f'{{"second": "c", {ROW[1:]}')):
        (tmp_path / name).write_text(content)
        assert "second" in read(tmp_path / name)[0]
        for columns in ({"second": ""}, "second="):
            (found,) = read_table(tmp_path / name, FIELDS, ColumnMap.parse(columns), tmp_path)
            assert dict(found) == {"text": "a", "label": "b"}


def test_two_pictures_are_given_in_one_way(tmp_path: Path) -> None:
    """The one that --columns names, else the one that is there and, in a row of JSON, not null."""
    (tmp_path / "a.csv").write_text("images,left,right\nx,y,z\n")
    with expect_refusal("a.csv: ", "images and left", "--columns images=images"):
        read(tmp_path / "a.csv", (IMAGES,))
    (found,) = read(tmp_path / "a.csv", (IMAGES,), "left=left")
    assert [one.text("images") for one in found.two(IMAGES)] == ["y", "z"]
    with expect_refusal("a.csv: ", "'pics'", "'images'"):
        read(tmp_path / "a.csv", (IMAGES,), "images=pics")
    rows = [{"images": None, "left": "y", "right": "z"}, {"images": ["y", "z"], "left": None, "right": None}]
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, rows)))
    for found in read(tmp_path / "a.jsonl", (IMAGES,)):
        assert [one.text("images") for one in found.two(IMAGES)] == ["y", "z"]


def test_pictures_in_cells_become_files(tmp_path: Path) -> None:
    """As bytes, as the hub stores them, and one file where the bytes are equal; class numbers get names."""
    rows = [
        {"image": {"bytes": png(10), "path": None}, "label": 1},
        {"image": {"bytes": png(20), "path": "x.png"}, "label": 0},
        {"image": {"bytes": png(10), "path": "y.png"}, "label": 1},
    ]
    write_parquet(tmp_path / "a.parquet", rows, {"label": {"names": ["cat", "dog"], "_type": "ClassLabel"}})
    found = read(tmp_path / "a.parquet", PICTURES)
    paths = [row.path("image") for row in found]
    assert [row.label("label") for row in found] == ["dog", "cat", "dog"]
    assert paths[0] == paths[2] != paths[1]
    assert decode(paths[1].read_bytes())[:, 0, 0].tolist() == [20, 9, 9]
    assert len(list((tmp_path / "store").iterdir())) == 2
    write_parquet(tmp_path / "b.parquet", [{"image": png(7), "label": "a"}])
    assert read(tmp_path / "b.parquet", PICTURES)[0].path("image").read_bytes() == png(7)


def test_labels_that_look_alike_are_one(tmp_path: Path) -> None:
    """Composed letters (NFC) and decomposed ones (NFD) are the same name, alone and in lists."""
    names = [unicodedata.normalize(form, "café") for form in ("NFC", "NFD")]
    lines = [json.dumps({"text": "a", "label": one}) for one in names]
    (tmp_path / "a.jsonl").write_text("\n".join(lines))
    assert [one.label("label") for one in read(tmp_path / "a.jsonl")] == [names[0]] * 2
    for cell in ("|".join(names), names):
        assert row(label=cell).labels("label", "|") == (names[0],)


# ---------------------------------------------------------------- cells
def test_cells_as_they_are_meant() -> None:
    plain = {"number": 3, "half": 0.5, "flag": True, "nan": float("nan"), "plain": "[red] cat"}
    cells = row(**plain, list='["a", "b"]', tuple=("a",))
    labels = [cells.label(name) for name in ("number", "half", "flag", "plain")]
    assert labels == ["3", "0.5", "true", "[red] cat"]
    assert cells.texts("list") == ["a", "b"]
    assert cells.texts("plain") == ["[red] cat"]
    assert cells.texts("tuple") == ["a"]
    with pytest.raises(UserError, match=r'a.csv:7: the column "nan" is empty'):
        cells.label("nan")
    for blank in (None, "", " ", "\t\n"):
        with pytest.raises(UserError, match='the column "text" is empty; mend the row'):
            row(text=blank).text("text")


@given(st.lists(st.floats(-1e6, 1e6, allow_nan=False), min_size=4, max_size=4))
def test_numbers_however_they_are_written(numbers: list[float]) -> None:
    spellings: list[Any] = [
        numbers,
        json.dumps(numbers),
        " ".join(map(repr, numbers)),
        "(" + ", ".join(map(repr, numbers)) + ")",
        np.array(numbers).tolist(),
    ]
    for value in spellings:
        assert row(box=value).numbers("box") == numbers


def test_votes() -> None:
    assert row(answer="red").votes("answer") == {"red": 1}
    assert row(answer='["red", "red", "blue"]').votes("answer") == {"red": 2, "blue": 1}
    official = [{"answer": "yes", "answer_confidence": "maybe"}, {"answer": "no"}, {"answer": "yes"}]
    assert row(answer=official).votes("answer") == {"yes": 2, "no": 1}
    with pytest.raises(UserError, match="without a text"):
        row(answer=[{"reply": "yes"}]).votes("answer")


def test_paths_stay_where_they_may_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """In the table's folder or in one beside it; of a folder that was given, in it."""
    tasks = tmp_path / "tasks"
    (tasks / "vqa").mkdir(parents=True)
    (tmp_path / "secret.jpg").touch()
    (tasks / "link").symlink_to(tmp_path)
    table = tasks / "vqa" / "a.jsonl"
    good = ["a.jpg", "deep/a.jpg", "../images/a.jpg", str(tasks / "images" / "a.jpg")]
    shown = TableRow({"images": good[:2]}, table, 1).two(IMAGES)
    assert [one.path("images") for one in shown] == [tasks / "vqa" / name for name in good[:2]]
    for name in good:
        assert TableRow({"image": name}, table, 1).path("image") == tasks / "vqa" / name
    monkeypatch.chdir(table.parent)
    relative = TableRow({"image": "../images/a.jpg", "out": "../../a.jpg"}, Path("a.jsonl"), 1)
    assert relative.path("image") == tasks / "vqa" / "../images/a.jpg"
    assert row(Path("/pics"), image="1.jpg").path("image") == Path("/pics/1.jpg")
    assert row(Path("/"), image="/etc/hosts").path("image") == Path("/etc/hosts")
    for name in ("../../secret.jpg", "/etc/passwd", "../link/secret.jpg", "a\0b"):
        outside = TableRow({"image": name}, table, 7)
        with expect_refusal("a.jsonl:7: ", '"image"', "with --pictures"):
            outside.path("image")
    with expect_refusal("a.jsonl:1: ", '"out"', "lies outside"):
        relative.path("out")
    with expect_refusal("a.csv:7: ", "outside /pics"):
        row(Path("/pics"), image="../x").path("image")


# ------------------------------------------------------------------ splits
rows = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 4)), min_size=1, max_size=120)
SHARES = {"valid": 0.15, "test": 0.15}


@given(rows, st.integers(0, 5))
def test_every_row_once_and_groups_whole(rows: list[tuple[int, int]], seed: int) -> None:
    groups, strata = zip(*rows, strict=True)
    parts = split_rows(groups, strata, SHARES, seed)
    assert sorted(row for part in parts.values() for row in part) == list(range(len(rows)))
    for one in parts.values():
        for other in parts.values():
            if one is not other:
                assert not {groups[row] for row in one} & {groups[row] for row in other}
    assert parts == split_rows(groups, strata, SHARES, seed)
    first = {group: strata[groups.index(group)] for group in groups}
    assert {first[groups[row]] for row in parts["rest"]} == set(first.values())


@given(st.lists(st.integers(1, 40), min_size=1, max_size=8), st.integers(0, 5))
def test_classes_are_alike(sizes: list[int], seed: int) -> None:
    """A class takes its share, rounded, and what smaller classes before it could not give to both parts."""
    strata = [name for name, size in enumerate(sizes) for _ in range(size)]
    parts = split_rows(range(len(strata)), strata, SHARES, seed)
    owed = 0.15 * sum(size for size in sizes if size < 4)
    for name in SHARES:
        counts = Counter(strata[row] for row in parts[name])
        for stratum, size in enumerate(sizes):
            assert abs(counts[stratum] - 0.15 * size) <= 1.01 + owed
        assert abs(sum(counts.values()) - 0.15 * len(strata)) <= 0.51 + owed
