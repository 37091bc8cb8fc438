"""Kept results, and the tables of the documentation that are made from them."""

import json

import pytest
from benchmarks.language_kept import kept_table
from benchmarks.results import (
    BY_STEPS,
    MARKS,
    ROOT,
    TABLES,
    WRITERS,
    add_row,
    curve,
    due,
    read_rows,
    row_of,
    table,
)

from tests.refusals import expect_refusal


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


def test_the_losses_of_a_run_become_rows(tmp_path) -> None:
    lines = [{"step": 10, "loss": 2.5, "losses": {"mlm": 2.5}, "lr": 0.1}]
    lines.append({"step": 20, "loss": 3.25, "losses": {"mlm": 2.0, "itm": 1.25}, "lr": 0.2})
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    first, second = curve(tmp_path)
    assert (first["step"], first["loss"], first.get("itm")) == ("10", "2.5", None)
    assert (second["step"], second["mlm"], second["itm"]) == ("20", "2", "1.25")
    with expect_refusal("no log.jsonl"):
        curve(tmp_path / "nothing")


def test_runs_of_an_ablation_become_tables() -> None:
    told = {"recipe": "r", "steps": "9", "machine": "a machine"}
    rows = [
        told | {"variant": variant, "seed": seed, "language": language, "x/y/z": "0.5"}
        for variant, seed, language in (("full", "0", "0.5"), ("full", "1", "0.75"), ("no-mim", "0", "0.25"))
    ]
    averages, variants = (WRITERS[kind](rows) for kind in ("averages", "variants"))
    assert averages.splitlines()[2:4] == ["| `full` | 62.5 % |", "| `no-mim` | 25.0 % (-25.0) |"]
    assert "3 runs of `r`, seeds 0, 1, 9 steps; a machine ([the rows]({}))." in averages
    assert "| x/y/z | 50.0 % | 50.0 % (+0.0) |" in variants


def test_runs_of_a_recipe_are_compared() -> None:
    """That of the most steps first; a score that a run lacks is a dash."""
    few = {"steps": "7", "commit": "a", "machine": "m, 2 cores", "retrieval/seen/text_r1:value": "0.5"}
    more = {"steps": "1234", "commit": "b", "machine": "m, 2 cores", "vqa/seen/accuracy_what:value": "0.25"}
    first, second = WRITERS["runs"]([few, more]).splitlines()[2:4]
    assert first == "| 1,234 | - / - | - / - | - / - | - | - / 25.0 | - | - | b | m, 2 cores |"
    assert second.startswith("| 7 | 50.0 / - | - / - |")


def test_runs_by_steps_are_told_from_the_lowest_to_the_highest() -> None:
    keys = [f"{key}:value" for key in BY_STEPS.values()]
    rows = [
        {"steps": steps, "machine": machine} | dict.fromkeys(keys, score)
        for steps, machine, score in (("1090", "m", "0.09"), ("2000", "n", "0.8"), ("1000", "m", "0.5"))
    ]
    _, _, *lines = WRITERS["steps"](rows).splitlines()
    assert lines == [
        "| 1,000 to 1,090 | 2 | " + "9.0 to 50.0 % | " * 5 + "m |",
        "| 2,000 | 1 | " + "80.0 % | " * 5 + "n |",
    ]


def test_what_language_keeps_becomes_a_table() -> None:
    run = {"seed": "0", "recipe": "r", "steps": "9", "machine": "a machine", "films, n": "30"}
    rows = [
        {"what": "TF-IDF", "films": "0.5", "seed": ""},
        run | {"what": "full", "films": "0.75"},
        run | {"what": "into-language", "films": "0.5"},
    ]
    _, _, floor, *policies, _, told = kept_table(rows).splitlines()
    assert floor == "| TF-IDF | 50.0 % |"
    assert policies == ["| `full` | 75.0 % |", "| `into-language` | 50.0 % (-25.0) |"]
    assert told == "Sentences tested: 30. 9 steps of `r`, seeds 0, a machine ([the rows]({}))."
