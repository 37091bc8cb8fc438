"""Rows in memory are rows like those of files, whatever library holds them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from tests.data.tables.written import FIELDS, PICTURES, png, read
from tests.refusals import expect_refusal
from xfm.data.images import load_image
from xfm.data.tables import ColumnMap, TableRow, as_splits, as_table, read_table

ROWS = [
    {"text": "a red cat", "label": "cat", "second": None, "more": 1},
    {"text": "a dog", "label": "dog", "second": "big", "more": 2},
]


def listed(
    given: Any, fields: Any = FIELDS, store: Path = Path("unused"), columns: str = ""
) -> list[TableRow]:
    return read_table(as_table(given, "train"), fields, ColumnMap.parse(columns), store)


def as_columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def pandas_frame(rows: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("pandas").DataFrame(rows, index=range(7, 7 + len(rows)))


def polars_frame(rows: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("polars").DataFrame(rows)


def arrow_table(rows: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("pyarrow").Table.from_pylist(rows)


def data_set(rows: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("datasets").Dataset.from_list(rows)


def stream(rows: list[dict[str, Any]]) -> Any:
    return pytest.importorskip("datasets").Dataset.from_list(rows).to_iterable_dataset()


class Indexed:
    """As torch's data sets."""

    def __init__(self, rows: list[dict[str, Any]]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.rows[place]


HOLDERS: dict[str, Callable[[list[dict[str, Any]]], Any]] = {
    "list": list,
    "tuple": tuple,
    "columns": as_columns,
    "indexed": Indexed,
    "pandas": pandas_frame,
    "polars": polars_frame,
    "pyarrow": arrow_table,
    "datasets": data_set,
    "stream": stream,
}


@pytest.mark.parametrize("holder", HOLDERS)
def test_every_library_gives_the_rows_of_a_file(holder: str, tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    expected = read(tmp_path / "a.jsonl")
    found = listed(HOLDERS[holder](ROWS))
    for own, other in zip(found, expected, strict=True):
        assert {name: own[name] for name in own if own.has(name)} == {
            n: other[n] for n in other if other.has(n)
        }
        assert own.number == other.number
    kind = type(HOLDERS[holder](ROWS)).__name__
    assert found[1].place == f"train ({kind}):2"
    renamed = [{"q": row["text"], "k": row["label"]} for row in ROWS]
    found = listed(HOLDERS[holder](renamed), columns="text=q,label=k")
    assert [row.label("label") for row in found] == ["cat", "dog"]
    with expect_refusal(f"train ({kind})", "'text'", "--columns"):
        listed(HOLDERS[holder]([{"txt": "a", "label": "b"}]))


@settings(max_examples=25)
@given(
    rows=st.lists(
        st.tuples(st.text(min_size=1), st.one_of(st.none(), st.integers(-(2**62), 2**62))),
        min_size=1,
        max_size=5,
    )
)
def test_a_frame_holds_what_a_list_holds(rows: list[tuple[str, int | None]]) -> None:
    """Whole numbers stay whole where others are missing, whatever a library makes of such columns."""
    pandas = pytest.importorskip("pandas")
    dicts = [{"text": text, "label": label} for text, label in rows]
    labels = pandas.array([label for _, label in rows], dtype="Int64")  # a frame of its own makes them points
    frame = pandas.DataFrame({"text": [text for text, _ in rows], "label": labels})
    for one, other in zip(listed(frame), listed(dicts), strict=True):
        assert (one["text"], one["label"]) == (other["text"], other["label"])
        assert one.has("label") == other.has("label")


def pictures() -> dict[str, Any]:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 7, 3), dtype=np.uint8)
    return {
        "PIL": Image.fromarray(pixels),
        "array": pixels,
        "tensor": torch.from_numpy(pixels).movedim(-1, 0),
        "grey": pixels[..., 0],
        "bytes": png(3),
        "hub": {"bytes": png(3), "path": None},
    }


def test_pictures_in_cells_become_files(tmp_path: Path) -> None:
    cells = pictures()
    found = listed([{"image": cell, "label": "a"} for cell in cells.values()], PICTURES, tmp_path / "store")
    paths = {kind: row.path("image") for kind, row in zip(cells, found, strict=True)}
    assert paths["PIL"] == paths["array"] == paths["tensor"]
    assert paths["bytes"] == paths["hub"]
    assert {path.parent for path in paths.values()} == {tmp_path / "store"}
    assert torch.equal(load_image(paths["array"]), torch.from_numpy(cells["array"]).movedim(-1, 0))
    before = {path: path.stat().st_mtime_ns for path in paths.values()}
    listed([{"image": cell, "label": "a"} for cell in cells.values()], PICTURES, tmp_path / "store")
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "store").iterdir()} == before


def test_data_sets_of_pictures_and_classes(tmp_path: Path) -> None:
    datasets = pytest.importorskip("datasets")
    Image.new("RGB", (3, 2)).save(tmp_path / "lies.png")
    kinds = {"image": datasets.Image(), "label": datasets.ClassLabel(names=["cat", "dog"])}
    cells = {"image": [Image.new("RGB", (5, 4)), str(tmp_path / "lies.png")], "label": [1, 0]}
    made = datasets.Dataset.from_dict(cells, features=datasets.Features(kinds))
    found = listed(made, PICTURES, tmp_path / "store")
    assert [row.label("label") for row in found] == ["dog", "cat"]
    assert found[0].path("image").parent == tmp_path / "store"
    assert found[1].path("image") == tmp_path / "lies.png"
    assert [tuple(load_image(row.path("image")).shape) for row in found] == [(3, 4, 5), (3, 2, 3)]
    parts = datasets.DatasetDict(train=made, validation=made)
    assert {*as_splits(parts, None, None)} == {"train", "validation"}


def test_splits_in_one_dictionary() -> None:
    found = as_splits({"train": ROWS, "val": ROWS[:1], "test": "a.csv"}, None, None)
    assert [*found] == ["train", "validation", "test"]
    assert str(found["validation"]) == "validation (list)"
    assert found["test"] == "a.csv"
    assert [*as_splits(as_columns(ROWS), None, ROWS)] == ["train", "test"]
    with expect_refusal("'extra'", "take it out"):
        as_splits({"train": ROWS, "extra": ROWS}, None, None)
    with expect_refusal("validation is there twice", "val"):
        as_splits({"train": ROWS, "valid": ROWS, "val": ROWS}, None, None)
    with expect_refusal("validation rows stand in train already"):
        as_splits({"train": ROWS, "valid": ROWS}, ROWS, None)
