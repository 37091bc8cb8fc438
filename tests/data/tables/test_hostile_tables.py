"""Tables that nobody has checked: gigantic, damaged, or written to do harm."""

import json
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.data.tables.test_tables import PICTURES, png, read, row
from xfm.config.tasks import TEXT_CLASSIFICATION
from xfm.data.tables import ColumnMap, read_table
from xfm.data.tables.parquet import open_parquet
from xfm.data.tables.parquet_pages import plan_group
from xfm.errors import UserError
from xfm.inference.predict.reading import Reading
from xfm.inference.predict.sources import open_source


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


@pytest.mark.parametrize("content", ["x" * 5_000_000 + ",b\n", '"' + "x\n" * 2_500_000 + '",b\n'])
def test_a_gigantic_cell_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.csv").write_text("text,label\na,b\n" + content)
    with pytest.raises(UserError, match=r"a\.csv:3: the row cannot be read \(field larger"):
        read(tmp_path / "a.csv")


@pytest.mark.parametrize(
    "damage",
    [
        lambda data: data[: len(data) // 2],  # a download that broke off
        lambda data: data[:-8] + b"\xff" * 4 + data[-4:],  # the footer's length
        lambda data: data[:4] + b"\0" * (len(data) - 12) + data[-8:],  # the footer itself
        lambda data: data[:20] + b"\xff" * 60 + data[80:],  # the rows
        lambda data: b"",
    ],
)
def test_damaged_parquet_is_called_damaged(tmp_path: Path, damage: Callable[[bytes], bytes]) -> None:
    """It is there: looking at its path again would be in vain."""
    arrow = pytest.importorskip("pyarrow")
    path = tmp_path / "a.parquet"
    table = arrow.Table.from_pylist([{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(200)])
    pytest.importorskip("pyarrow.parquet").write_table(table, path, compression="gzip")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match=r"a\.parquet.*copy it again") as caught:
        read(path)
    assert "check the path" not in str(caught.value)
    with pytest.raises(UserError, match=r"a\.parquet.*copy it again"):
        list(open_source(path, Reading(TEXT_CLASSIFICATION.inputs)).rows(0, frozenset()))


def test_a_line_without_an_end_is_not_read_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xfm.data.tables.delimited.LONGEST_LINE", 1000)
    (tmp_path / "a.csv").write_text("text,label\na,b\n" + "x" * 999 + ",b\n")
    with pytest.raises(UserError, match=r"a\.csv:3: the line has no end"):
        read(tmp_path / "a.csv")
    (tmp_path / "a.csv").write_text("text,label\na,b\n" + "x" * 900 + ",b\n")
    assert len(read(tmp_path / "a.csv")) == 2


@pytest.mark.parametrize("name", ["x" * 5000 + ".csv", "x" * 5000, "a\0.csv"])
def test_what_is_no_path_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(UserError):
        read(tmp_path / name)


def test_half_characters_are_named() -> None:
    """JSON may hold half a surrogate pair, which no tokenizer takes."""
    half = json.loads('"a \\ud83d"')
    for call in (
        lambda: row(x=half).text("x"),
        lambda: row(x=[half]).texts("x"),
        lambda: row(x=[{"answer": half}]).votes("x"),
        lambda: row(x=half).label("x"),
    ):
        with pytest.raises(UserError, match='the column "x"'):
            call()


def test_moments_that_python_has_no_date_for(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = arrow.table({"text": arrow.array([2**62], arrow.timestamp("us")), "label": ["a"]})
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="cannot be read after row 0"):
        read(tmp_path / "a.parquet")


def test_a_column_twice_in_parquet_is_named(tmp_path: Path) -> None:
    arrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    column = arrow.array(["a", "b"])
    table = arrow.table([column, column, column], names=["text", "text", "label"])
    parquet.write_table(table, tmp_path / "a.parquet")
    with pytest.raises(UserError, match="the column 'text' is there twice"):
        read(tmp_path / "a.parquet")


def test_numbers_as_texts_and_labels() -> None:
    """Large numbers that differ are different classes, and NaN is an empty cell."""
    assert [row(x=number).label("x") for number in (1234567.0, 1234568.0, 0.1 + 0.2)] == [
        "1234567",
        "1234568",
        "0.3",
    ]
    assert not row(x=math.nan).has("x")
    with pytest.raises(UserError, match='the column "x" is empty'):
        row(x=math.nan).text("x")


def test_a_local_folder_of_pictures_as_a_data_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The library leaves such pictures where they lie; what a row names elsewhere is not read."""
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    for number, label in enumerate(("cat", "dog")):
        (tmp_path / "set" / "train" / label).mkdir(parents=True)
        (tmp_path / "set" / "train" / label / "1.png").write_bytes(png(number))
    found = read_table(f"hub:{tmp_path / 'set'}", PICTURES, ColumnMap(), tmp_path / "store")
    assert [(row.label("label"), row.path("image").parent.name) for row in found] == [
        ("cat", "cat"),
        ("dog", "dog"),
    ]
    arrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    cell = arrow.struct({"bytes": arrow.binary(), "path": arrow.string()})
    features = {"image": {"_type": "Image"}, "label": {"dtype": "string", "_type": "Value"}}
    table = arrow.Table.from_pylist(
        [{"image": {"bytes": None, "path": "/etc/hostname"}, "label": "a"}],
        arrow.schema({"image": cell, "label": arrow.string()}),
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    (tmp_path / "evil").mkdir()
    parquet.write_table(table, tmp_path / "evil" / "train.parquet")
    found = read_table(f"hub:{tmp_path / 'evil'}", PICTURES, ColumnMap(), tmp_path / "store")
    with pytest.raises(UserError, match="lies outside"):
        found[0].path("image")


def batch_rows(path: Path, column: str) -> int:
    return plan_group(path, open_parquet(path).metadata, 0, frozenset({column})).rows


def test_rows_with_pictures_are_read_a_few_at_a_time(tmp_path: Path) -> None:
    """256 rows with large pictures would be gigabytes."""
    arrow, parquet = (pytest.importorskip(name) for name in ("pyarrow", "pyarrow.parquet"))
    rng = np.random.default_rng(0)
    rows = [{"image": rng.bytes(1 << 20), "label": f"{n}"} for n in range(100)]
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert batch_rows(tmp_path / "a.parquet", "image") == 1  # all in one dictionary
    parquet.write_table(arrow.Table.from_pylist(rows), tmp_path / "c.parquet", use_dictionary=False)
    assert 50 <= batch_rows(tmp_path / "c.parquet", "image") <= 64
    assert [row.label("label") for row in read(tmp_path / "a.parquet", PICTURES)] == [*map(str, range(100))]
    parquet.write_table(arrow.table({"text": ["a"] * 9}), tmp_path / "b.parquet")
    assert batch_rows(tmp_path / "b.parquet", "text") == 256
