"""Kept results, and the tables of the documentation that are made from them."""

import json

import pytest
from benchmarks.results import (
    MARKS,
    ROOT,
    TABLES,
    add_row,
    due,
    read_rows,
    row_of,
    table,
)


@pytest.mark.parametrize("page", TABLES)
def test_a_page_has_the_numbers_of_its_file(page: str) -> None:
    """`make tables` writes them."""
    assert (ROOT / page).read_text() == due()[ROOT / page]
    assert MARKS.search((ROOT / page).read_text())


def a_run(folder, weights, start=None, **scores):
    folder.mkdir(parents=True)
    origin = {"recipe": "r", "seed": 3, "steps": 7, "position": {"minutes": 1.5}, "versions": {"xfm": "1"}}
    origin |= {"began_with": start} if start else {}
    details = {
        "provenance": origin,
        "seconds": {"vqa": 90.0},
        "threads": 2,
        "torch": "2",
        "weights_sha256": weights,
    }
    (folder / "evaluation.json").write_text(json.dumps(details))
    (folder / "metrics.json").write_text(json.dumps(scores))
    return folder


def test_a_run_becomes_a_row(tmp_path) -> None:
    score = {"value": 0.5, "low": 0.25, "high": 0.75, "chance": 0.1, "baseline": None, "n": 1200, "seed": 3}
    file = tmp_path / "results" / "r.csv"
    for name, own in (("a", {"x/y/z": score}), ("b", {"x/y/z": score | {"value": 0.625}, "u": score})):
        row = row_of(a_run(tmp_path / name, name, **own))
        assert add_row(file, row)
        assert not add_row(file, row)
    first, second = read_rows(file)
    assert (first["recipe"], first["seed"], first["steps"]) == ("r", "3", "7")
    assert (first["pretraining_minutes"], first["evaluation_minutes"]) == ("1.5", "1.5")
    assert (first["x/y/z:value"], first["x/y/z:baseline"], first["u:value"]) == ("0.5", "", "")
    assert second["u:value"] == "0.5"
    lines = table(file, {"It": "x/y/z"}).splitlines()
    assert lines[2] == "| It | 62.5 % | 25.0 to 75.0 % | - | 10.0 % | 1,200 |"
    assert "`r` from random weights, seed 3: 7 steps in 1.5 minutes" in lines[-1]
    start = {"recipe": "q", "seed": 2, "steps": 1234}
    add_row(file, row_of(a_run(tmp_path / "c", "c", start, **{"x/y/z": score})))
    assert "`r` from q, seed 2, 1,234 steps, seed 3: 7 steps" in table(file, {"It": "x/y/z"})
