"""A picture that cannot be read ends neither a probe nor a zero-shot evaluation."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from tests.evaluation.probing.conftest import run
from xfm.cli.main import main
from xfm.data.skipped import BAD_FILE, read_bad_rows
from xfm.evaluation.probing import feature_cache as cache
from xfm.reports.scores import read_scores


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


KNN = ("--methods", "knn", "--neighbours", "3")
ALL = ("--methods", "linear,knn", "--neighbours", "3")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_probe_goes_on_without_them(spoilt: Path, capsys: pytest.CaptureFixture[str], workers: int) -> None:
    options = (*ALL, "--workers", str(workers))
    assert run(spoilt, *options) == 0
    said, out = capsys.readouterr(), spoilt / "out"
    assert re.search(rf"3 of 60 rows were left out: \S+train:4 \(.*3\.png.*all in {out / BAD_FILE}", said.out)
    assert "left out 1 .psd" in said.err
    assert "1 outside the folders of classes (notes.md)" in said.err
    for method in ("linear", "knn"):
        assert read_scores(out / "metrics.json")[f"image-classification/test/{method}_accuracy"].n == 19
    kept = json.loads((out / "probe.json").read_text())["left_out"]
    assert kept["by_split"] == {"training": 2, "test": 1}
    assert {row["place"] for row in kept["rows"]} == {*read_bad_rows(out)}
    before = {path: path.stat().st_mtime_ns for path in (out / "features").iterdir()}
    assert run(spoilt, *options) == 0  # from the cache, which remembers them
    assert re.search(r"3 of 60 rows were left out", capsys.readouterr().out)
    assert {path: path.stat().st_mtime_ns for path in (out / "features").iterdir()} == before


def test_the_others_have_the_features_that_they_have_alone(spoilt: Path) -> None:
    assert run(spoilt, *KNN) == 0
    with_bad = read_scores(spoilt / "out" / "metrics.json")
    for row in read_bad_rows(spoilt / "out").values():
        found = re.search(r"/\S+\.png", row)
        assert found
        Path(found[0].rstrip(":")).unlink()
    assert run(spoilt, *KNN, "--out", str(spoilt / "b")) == 0
    assert read_scores(spoilt / "b" / "metrics.json") == with_bad
    assert not (spoilt / "b" / BAD_FILE).exists() or not read_bad_rows(spoilt / "b")


def test_zero_shot_goes_on_without_them(spoilt: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = spoilt / "zero"
    given = ["evaluate", str(spoilt / "model"), "--test", str(spoilt / "test"), "--templates", "plain"]
    assert main([*given, "--out", str(out)]) == 0
    said = capsys.readouterr()
    assert re.search(rf"1 of 20 rows was left out: \S+test:3 \(.*2\.png.*; all in {out / BAD_FILE}", said.out)
    assert "left out 1 .psd" in said.err
    assert all(score.n == 19 for score in read_scores(out / "metrics.json").values())
    kept = [json.loads(line) for line in (out / BAD_FILE).read_text().splitlines()]
    assert kept[1]["kinds"][".psd"]["count"] == 1
    assert main([*given, "--out", str(out), "--max-bad", "0"]) == 2
    assert "2.png" in capsys.readouterr().err


def test_a_model_that_makes_no_numbers_is_not_taken_for_bad_pictures(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    vectors = cache._vectors

    def broken(*arguments: object) -> object:
        for batch in vectors(*arguments):  # type: ignore[arg-type]
            yield np.full_like(batch, np.nan)

    monkeypatch.setattr(cache, "_vectors", broken)
    assert run(folder, *ALL) == 2
    assert "the model makes no numbers of this picture" in capsys.readouterr().err
