"""The whole evaluation of frozen features, from Python and from the command line."""

import json
import re
from pathlib import Path

import pytest

from tests.evaluation.probing.conftest import run
from tests.folders import bad_rows
from xfm.cli.main import main
from xfm.data.skipped import BAD_FILE
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


@pytest.fixture
def spoilt(folder: Path) -> Path:
    """Two training pictures and a test picture are bad, and there are files that are no pictures."""
    names = sorted(path.name for path in (folder / "train").iterdir())
    (folder / "train" / names[0] / "3.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (folder / "train" / names[1] / "4.png").write_bytes(b"")
    (folder / "test" / names[0] / "2.png").write_bytes(b"RIFF")
    (folder / "test" / "notes.md").write_bytes(b"")
    (folder / "test" / names[0] / "a.psd").write_bytes(b"")
    return folder


def test_a_probe_goes_on_without_them(spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(spoilt, "--methods", "linear,knn", "--neighbours", "3", "--workers", "0") == 0
    said, out = capsys.readouterr(), spoilt / "out"
    assert re.search(rf"3 of 60 rows were left out: \S+train:4 \(.*3\.png.*all in {out / BAD_FILE}", said.out)
    assert "left out 1 .psd" in said.err
    assert "1 outside the folders of classes (notes.md)" in said.err
    for method in ("linear", "knn"):
        assert read_scores(out / "metrics.json")[f"image-classification/test/{method}_accuracy"].n == 19
    kept = json.loads((out / "probe.json").read_text())["left_out"]
    assert kept["by_split"] == {"training": 2, "test": 1}
    assert {row["place"] for row in kept["rows"]} == {*bad_rows(out)}


def test_zero_shot_goes_on_without_them(spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given = ["evaluate", str(spoilt / "model"), "--test", str(spoilt / "test"), "--templates", "plain"]
    assert main([*given, "--out", str(spoilt / "zero")]) == 0
    assert re.search(r"1 of 20 rows was left out: \S+test:3 \(.*2\.png", capsys.readouterr().out)
    assert all(score.n == 19 for score in read_scores(spoilt / "zero" / "metrics.json").values())
