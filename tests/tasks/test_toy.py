"""A task that another package adds goes the whole road: columns, fine-tuning, report, pipeline, commands."""

import csv
import json
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest
from PIL import Image

import xfm
from tests.alike import thorough
from tests.evaluation.tiny import COLOURS, save_tiny_model
from tests.processes import run
from xfm.cli.main import main
from xfm.config import tasks
from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError


@pytest.fixture(scope="module", autouse=True)
def _known() -> Iterator[None]:
    """The task is known to these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tasks, "_known", dict(tasks._known))
        xfm.register_task(import_module("tests.tasks.toy").SPEC)
        yield


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of twenty-four rows; the word has a column of another name."""
    folder = tmp_path_factory.mktemp("toy")
    with (folder / "rows.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["image", "said", "label"])
        for number in range(24):
            shown, said = list(COLOURS)[number % 4], list(COLOURS)[number // 2 % 4]
            Image.new("RGB", (32, 32 + number), COLOURS[shown]).save(folder / f"{number}.png")
            table.writerow([f"{number}.png", said, "yes" if shown == said else "no"])
    return folder / "rows.csv"


@pytest.fixture(scope="module")
def tuned(rows: Path) -> Path:
    """Fine-tuned by the command, in a process that knows the task from an installed package alone."""
    site, model = rows.parent / "site", save_tiny_model(rows.parent / "tiny")
    (site / "toy-1.dist-info").mkdir(parents=True)
    (site / "toy-1.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
    (site / "toy-1.dist-info" / "entry_points.txt").write_text("[xfm.tasks]\ncolour = tests.tasks.toy:SPEC\n")
    begin = f"import sys; sys.path.insert(0, {str(site)!r}); from xfm.cli.main import main; sys.exit(main())"
    words = ["finetune", "colour", str(model), "--train", str(rows), "--out", str(rows.parent / "out")]
    words += ["--columns", "word=said", "--steps", "2", "--batch-size", "4", "--device", "cpu", "--quiet"]
    found = run([sys.executable, "-c", begin, *words])
    assert found.status == 0, found.err
    assert "xfm predict colour-match" in found.out
    return rows.parent / "out"


@thorough
@pytest.mark.slow
def test_it_is_scored_and_reported(tuned: Path) -> None:
    scores = json.loads((tuned / "metrics.json").read_text())
    assert {"colour-match/test/accuracy", "colour-match/test/auroc"} <= scores.keys()
    assert json.loads((tuned / "model" / "task.json").read_text())["kind"] == "colour-match"
    board = json.loads((tuned / "evaluation.json").read_text())["leaderboards"]["test"]
    strong = [place["name"] for place in board["places"] if place["sort"] == "strong"]
    assert len(strong) == 3  # of a class of a picture and a text
    page = (tuned / "report.html").read_text()
    assert "colour-match" in page
    assert "word only" in page  # the baseline without the picture


@thorough
def test_pipeline_and_predict_answer(tuned: Path, rows: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ask = xfm.pipeline("colour", model=tuned)
    answer = ask(image=rows.parent / "0.png", word="red")
    assert {one["label"] for one in answer} == {"yes", "no"}
    with pytest.raises(UserError, match=r"the field word is missing"):
        ask(image=rows.parent / "0.png")
    line = ["predict", "colour-match", str(tuned), str(rows), "--columns", "text=said", "--keep", "label"]
    assert main([*line, "--out", str(tuned / "answers.jsonl"), "--quiet"]) == 0
    first = json.loads((tuned / "answers.jsonl").read_text().splitlines()[0])
    assert [one["score"] for one in first["prediction"]] == pytest.approx(
        [one["score"] for one in ask(image=rows.parent / "0.png", word="red")], abs=1e-5
    )
    capsys.readouterr()


def test_help_knows_it(capsys: pytest.CaptureFixture[str]) -> None:
    for verb, words in (("finetune", "image, word or text, label"), ("predict", "names the colour of")):
        with pytest.raises(SystemExit):
            main([verb, "--help"])
        assert any("colour-match" in line and words in line for line in capsys.readouterr().out.splitlines())


def test_a_setting_that_it_does_not_read_is_refused(rows: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="label_smoothing is of no use in colour-match, only in captioning"):
        xfm.finetune("colour", tmp_path, rows, tmp_path / "out", config=FinetuneConfig(label_smoothing=0.2))


def test_a_model_of_a_task_that_nobody_knows_is_named(
    tuned: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    known = {name: spec for name, spec in tasks._known.items() if spec.name != "colour-match"}
    monkeypatch.setattr(tasks, "_known", known)
    assert main(["predict", "embed", str(tuned), "--text", "red"]) == 2
    said = capsys.readouterr().err
    assert "task.json: unknown task colour-match" in said
    assert "install the package" in said
