"""Columns of CSV that hold numbers are numbers, in every store, and the same ones in every table."""

import csv
import uuid
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.tiny import COLOURS, draw
from tests.index.conftest import expect_unopened, postgres_address
from tests.refusals import expect_refusal
from xfm.config.pipelines import SearchOptions
from xfm.data.skipped import SkippedRecords
from xfm.search.filters import Kind
from xfm.search.index import Index
from xfm.search.ingest import fill
from xfm.search.opening import open_index
from xfm.search.searching import Searcher
from xfm.search.sources import open_supply

PAIRS = [(left, right) for left in COLOURS for right in COLOURS if left != right]
ROWS = [
    {"sku": "007", "price": "100", "stock": "3", "size": "10", "note": "", "date": "2024-01-31"},
    {"sku": "008", "price": "20", "stock": "", "size": "L", "note": "", "date": "2023-02-01"},
    {"sku": "010", "price": " 9.50", "stock": "-1", "size": "9", "note": "", "date": "2022-03-01"},
]
KINDS = {"sku": Kind.TEXT, "price": Kind.NUMBER, "stock": Kind.NUMBER, "size": Kind.TEXT, "date": Kind.TEXT}


def shop(path: Path, rows: list[dict[str, str]], first: int = 0) -> Path:
    """A CSV file with a picture for each row."""
    with path.open("w", newline="") as file:
        out = csv.DictWriter(file, ["image", *rows[0]])
        out.writeheader()
        for number, row in enumerate(rows, start=first):
            name = f"{number}.png"
            draw(*PAIRS[number]).save(path.parent / name)
            out.writerow({"image": name, **row})
    return path


def passing(index: Index, *where: str) -> list[str]:
    options = SearchOptions(top_k=50, rerank=0, where=[*where])
    return sorted(
        str(hit["metadata"]["sku"]) for hit in Searcher(index).search("a square", options=options).hits
    )


def test_columns_are_numbers_where_every_cell_is_one(tmp_path: Path) -> None:
    path = shop(tmp_path / "shop.csv", ROWS)
    supply = open_supply(path)
    assert {name: one.kind for name, one in supply.columns().items()} == KINDS
    first, second, _ = (one.metadata for one in supply.candidates())
    assert first == {"sku": "007", "price": 100.0, "stock": 3.0, "size": "10", "date": "2024-01-31"}
    assert "stock" not in second
    kept = open_supply(path, keep=["price", "sku"], as_text=["price", "stock"])
    assert {name: one.kind for name, one in kept.columns().items()} == {"price": Kind.TEXT, "sku": Kind.TEXT}
    assert [one.metadata["price"] for one in kept.candidates()] == ["100", "20", " 9.50"]


@pytest.mark.parametrize("store", ["lance", "postgres"])
def test_conditions_compare_numbers(model: Path, tmp_path: Path, capsys: Any, store: str) -> None:
    pytest.importorskip("lancedb" if store == "lance" else "psycopg")
    where: dict[str, Any] = {}
    if store == "postgres":
        secret = postgres_address().replace("postgres@", "postgres:secret@")
        where = {"address": secret, "table": f"t{uuid.uuid4().hex[:12]}"}
    with open_index(tmp_path / "index", model, make=True, **where) as index:
        source = open_supply(shop(tmp_path / "shop.csv", ROWS), key="sku")
        fill(index, [source], SkippedRecords(), progress=False)
        told = f"Note: {tmp_path / 'shop.csv'} has nothing but numbers in price, stock:"
        assert capsys.readouterr().err.count(told) == 1
        assert index.about.fields == KINDS
        assert passing(index, "price<=20") == ["008", "010"]
        assert passing(index, "price>50", "stock=3") == ["007"]
        assert passing(index, "stock<0") == ["010"]
        assert passing(index, "sku=007") == ["007"]
        assert passing(index, "date>=2023-01") == ["007", "008"]
        for wrong, words in (
            ("price<dear", ["price", "number"]),
            ("size<10", ["size holds texts", "every cell"]),
        ):
            with expect_refusal(*words):
                passing(index, wrong)
        index.store.drop()
    assert "secret" not in (tmp_path / "index" / "index.json").read_text()
    if where:
        expect_unopened(tmp_path / "index", "another --out", address="postgresql://elsewhere/db")
