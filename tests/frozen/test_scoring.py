"""The whole evaluation of frozen features, from Python and from the command line."""

import json
import re

import numpy as np
import pytest
import torch

import xfm
from tests.evaluation.tiny import COLOURS
from tests.frozen.conftest import run
from tests.official.pictures import write_lines
from xfm.cli import main
from xfm.config.linear import HeadConfig
from xfm.frozen.deep import FeatureHead, _orders, fit_head
from xfm.frozen.features import LabelledFeatures
from xfm.reports.scores import read_scores


def test_colours_are_told_apart_from_frozen_features(folder, capsys):
    options = ["--methods", "linear,head,knn", "--neighbours", "3"]
    assert run(folder, *options, "--head.epochs", "15", "--head.lr", "1e-3", "--head.batch-size", "10") == 0
    scores = read_scores(folder / "out" / "metrics.json")
    for method in ("linear", "head", "knn"):
        assert scores[f"image-classification/test/{method}_accuracy"].value > 0.9, method
        assert scores[f"image-classification/test/{method}_mean_per_class"].value > 0.9
    assert scores["image-classification/test/linear_accuracy"].chance == 0.25
    assert "linear accuracy" in capsys.readouterr().out
    details = json.loads((folder / "out" / "probe.json").read_text())
    assert len(details["linear"]["trials"]) >= 7
    assert details["seconds"].keys() == {"features", "linear", "head", "knn"}
    assert len([*(folder / "out" / "features").glob("*.npy")]) == 2


def test_tables_with_other_columns(folder):
    tested = [f"test/{name}/{number}.png,{name}\n" for name in COLOURS for number in range(5)]
    (folder / "test.csv").write_text("file,kind\n" + "".join(tested))
    shown = [(f"train/{name}/{number}.png", name) for name in COLOURS for number in range(9)]
    write_lines(folder / "train.jsonl", [{"file": path, "kind": name} for path, name in shown])
    tables = ["--test", str(folder / "test.csv"), "--validation", str(folder / "test.csv")]
    columns = ["--columns", "image=file,label=kind"]
    assert run(folder, "--train", str(folder / "train.jsonl"), *tables, *columns, "--methods", "linear") == 0
    assert read_scores(folder / "out" / "metrics.json")["image-classification/test/linear_accuracy"].n == 20


def test_a_saved_probe_predicts_what_was_scored(folder):
    pixels = ["--features.colours", "half", "--features.framing", "close-centre"]
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
    assert main(["probe", str(folder), *train, *given, str(folder / "out")]) == 0
    assert main(["zero-shot", str(folder), *given, str(folder / "out-2")]) == 0


def test_every_epoch_sees_every_row_once():
    orders = [rows.tolist() for rows in _orders(10, 3, 0, 0, 6)]
    for epoch in (orders[:3], orders[3:]):
        seen = [row for rows in epoch for row in rows]
        assert len(seen) == len(set(seen)) == 9
    assert orders[4:] == [rows.tolist() for rows in _orders(10, 3, 0, 4, 6)]
    (everything,) = _orders(10, 10, 0, 7, 8)
    assert everything.tolist() == list(range(10))


def test_full_batch_and_mini_batch_heads_learn():
    rng = np.random.default_rng(1)
    labels = np.array(["no", "yes"])[rng.integers(0, 2, 120)]
    features = (rng.normal(size=(120, 6)) + 2 * (labels == "yes")[:, None]).astype(np.float32)
    for size in (0, 16):
        head = fit_head(
            LabelledFeatures(features, labels), 6, HeadConfig(epochs=30, batch_size=size, lr=3e-3)
        )
        assert (head.classes[head.logits(features).argmax(1).numpy()] == labels).mean() > 0.9


def test_the_head_takes_slot_0_twice_where_it_is_the_mean():
    torch.manual_seed(0)
    head, slot0 = FeatureHead(5, 3).eval(), torch.randn(4, 5)
    assert torch.equal(head(slot0), head(torch.cat([slot0, slot0], dim=1)))
