"""Bad pictures of official files: their rows are left out of the scores, and that is said beside them."""

import json
import re
import shutil
from pathlib import Path

import pytest

from tests.official.corpora import write_data_folder
from tests.official.image_sets import WRITERS
from xfm.cli import main
from xfm.data.left_out import BAD_FILE
from xfm.reports.scores import read_scores
from xfm.reproduce.benchmarks import BENCHMARKS
from xfm.reproduce.read.image_sets import ImageSet
from xfm.reproduce.results import DETAILS, OFFICIAL
from xfm.tasks.rows import pictures_of

BROKEN = b"\x89PNG\r\n\x1a\n broken"


def command(case: str, model: Path, data: Path, out: Path, limit: str = "50") -> int:
    name, protocol = case.split("/")
    given = ["--model", model, "--data", data, "--out", out, "--protocols", protocol, "--max-bad", limit]
    return main(["reproduce", name, *map(str, given), "--smoke", "--device", "cpu"])


def spoil(name: str, data: Path) -> tuple[str, int, int]:
    """Break the last picture of the last scored split; which one, how many rows show it, how many not."""
    corpus = BENCHMARKS[name].read(data)
    split, rows = [*corpus.scored.items()][-1]
    picture = pictures_of(rows[-1])[-1]
    picture.write_bytes(BROKEN)
    lost = sum(picture in pictures_of(row) for row in rows)
    assert 0 < lost < len(rows)
    return split, lost, len(rows) - lost


@pytest.mark.parametrize(
    "case", ["hateful-memes/FT", "nlvr2/FT", "refcoco/FT", "snli-ve/FT", "coco/FT", "coco/ZS"]
)
def test_a_test_row_with_a_bad_picture_is_left_out(
    case: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = write_data_folder(tmp_path / "data"), tmp_path / "out"
    name, folder = case.split("/")[0], out / case
    split, lost, left = spoil(name, data)
    assert command(case, model, data, out) == 0
    said = capsys.readouterr().out
    scores = {key: score for key, score in read_scores(folder / OFFICIAL).items() if f"/{split}/" in key}
    assert {score.n for score in scores.values()} == {min(left, 8 - lost)}
    assert re.search(rf"{case}: \d+ of \d+ rows w\w+ left out: .*{folder / BAD_FILE}", said)
    assert f"{case} is without" in said
    assert f"{lost} rows of {split}" in said
    assert f"{lost} rows of {split}" in (out / "results.md").read_text()
    kept = json.loads((folder / DETAILS).read_text())["left_out"]
    assert kept["by_split"][split] == lost
    assert main(["reproduce", name, "--out", str(out)]) == 0  # the table alone says it, too
    assert f"{lost} rows of {split}" in capsys.readouterr().out
    shutil.rmtree(out)
    assert command(case, model, data, out, limit="0") == 2
    assert "--max-bad leaves out 0 at most" in capsys.readouterr().err


@pytest.mark.parametrize("case", ["oxford-pets/LE", "oxford-pets/ZS"])
def test_pictures_of_linear_evaluation(
    case: str, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    WRITERS[ImageSet.PETS](tmp_path / "data")
    rows = BENCHMARKS["oxford-pets"].read(tmp_path / "data").scored["test"]
    rows[0].image.write_bytes(BROKEN)
    out = tmp_path / "out"
    assert command(case, model, tmp_path / "data", out) == 0
    scores = read_scores(out / case / OFFICIAL)
    assert all(score.n == min(len(rows), 8) - 1 for score in scores.values())
    assert re.search(rf"{case} is without .*1 rows of test", capsys.readouterr().out)


def test_a_submission_lacks_no_row(model: Path, tmp_path: Path) -> None:
    """A server refuses a file with a row less: hidden rows are answered without their picture, and named."""
    data, out = write_data_folder(tmp_path / "data"), tmp_path / "out"
    corpus = BENCHMARKS["vqa"].read(data)
    (split, rows), *_ = corpus.hidden.items()
    rows[-1].image.write_bytes(BROKEN)
    assert command("vqa/FT", model, data, out) == 0
    folder = out / "vqa" / "FT"
    answers = json.loads((folder / f"vqa_{split}.json").read_text())
    assert len(answers) == min(len(rows), 8)
    assert json.loads((folder / DETAILS).read_text())["left_out"]["by_split"][split] >= 1
