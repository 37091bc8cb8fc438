"""The whole evaluation of frozen features, from Python and from the command line."""

import json
import re

import pytest

import xfm
from tests.evaluation.probing.conftest import run
from tests.evaluation.tiny import COLOURS
from tests.official.pictures import write_lines
from xfm.cli.main import main
from xfm.reports.scores import read_scores


def test_colours_are_told_apart_from_frozen_features(folder, capsys):
    options = ["--methods", "linear,knn", "--neighbours", "3"]
    assert run(folder, *options) == 0
    scores = read_scores(folder / "out" / "metrics.json")
    for method in ("linear", "knn"):
        assert scores[f"image-classification/test/{method}_accuracy"].value > 0.9, method
        assert scores[f"image-classification/test/{method}_mean_per_class"].value > 0.9
    assert scores["image-classification/test/linear_accuracy"].chance == 0.25
    assert "linear accuracy" in capsys.readouterr().out
    details = json.loads((folder / "out" / "probe.json").read_text())
    assert len(details["linear"]["trials"]) >= 7
    assert details["seconds"].keys() == {"features", "linear", "knn"}
    assert len([*(folder / "out" / "features").glob("*.npy")]) == 2


def test_tables_with_other_columns(folder):
    tested = [f"test/{name}/{number}.png,{name}\n" for name in COLOURS for number in range(5)]
    (folder / "test.csv").write_text("file,kind\n" + "".join(tested))
    shown = [(f"train/{name}/{number}.png", name) for name in COLOURS for number in range(9)]
    write_lines(folder / "train.jsonl", [{"file": path, "kind": name} for path, name in shown])
    tables = ["--test", str(folder / "test.csv"), "--validation-rows", str(folder / "test.csv")]
    columns = ["--columns", "image=file,label=kind"]
    assert run(folder, "--train", str(folder / "train.jsonl"), *tables, *columns, "--methods", "linear") == 0
    assert read_scores(folder / "out" / "metrics.json")["image-classification/test/linear_accuracy"].n == 20


def test_a_saved_probe_predicts_what_was_scored(folder):
    pixels = ["--colours", "half", "--framing", "close-centre"]
    options = ["--methods", "linear", *pixels, "--save"]
    assert run(folder, *options) == 0
    scored = read_scores(folder / "out" / "metrics.json")["image-classification/test/linear_accuracy"].value
    paths = sorted((folder / "test").glob("*/*.png"))
    answers = xfm.pipeline("image-classification", model=str(folder / "out" / "model"))(list(map(str, paths)))
    right = [found[0]["label"] == path.parent.name for path, found in zip(paths, answers, strict=True)]
    assert sum(right) / len(right) == scored


@pytest.mark.parametrize(
    ("train", "test", "named"),
    [
        ("FIRST,red", "FIRST,red\nFIRST,mauve", r"test\.csv:3: \S+: .*'mauve'"),
        ("FIRST,red", "FIRST,red\nbad.png,red", r"test\.csv:3: .*bad\.png"),
        ("FIRST,red", "FIRST,red\nabsent.png,red", r"test\.csv:3: .*absent\.png"),
        ("FIRST,red\nFIRST,red", "FIRST,red", "'red'"),
    ],
    ids=["class without training rows", "broken picture", "absent picture", "one class"],
)
def test_rows_that_cannot_be_used_are_named(folder, capsys, train, test, named):
    (folder / "bad.png").write_text("no picture")
    first = str(next((folder / "train").glob("*/*.png")).relative_to(folder))
    for name, rows in (("train.csv", train), ("test.csv", test)):
        (folder / name).write_text(f"image,label\n{rows}\n".replace("FIRST", first))
    tables = ["--train", str(folder / "train.csv"), "--test", str(folder / "test.csv")]
    assert run(folder, *tables, "--max-bad", "0") == 2
    assert re.search(named, capsys.readouterr().err)
    assert not (folder / "out" / "metrics.json").exists()


def test_the_folder_of_a_run_stands_for_its_model(folder):
    """For a probe, and without training."""
    given = ["--test", str(folder / "test"), "--out"]
    train = ["--train", str(folder / "train"), "--methods", "knn"]
    assert main(["evaluate", str(folder), *train, *given, str(folder / "out")]) == 0
    assert main(["evaluate", str(folder), *given, str(folder / "out-2")]) == 0
