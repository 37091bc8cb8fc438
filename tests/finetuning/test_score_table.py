"""A fine-tuned model on new labelled rows: `xfm evaluate MODEL --test FILE` and `xfm.score`."""

import html
import json
import shutil
from collections import Counter
from pathlib import Path

import pytest

import xfm
from tests.evaluation.tiny import write_world
from tests.finetuning.conftest import FILES, SAMPLES, answers, on_sample, refused
from xfm.cli import main
from xfm.config.finetune import FinetuneConfig
from xfm.config.training import Precision
from xfm.errors import UserError
from xfm.reports.scores import read_scores

SHORT = FinetuneConfig(steps=2, batch_size=4, device="cpu", precision=Precision.FP32, baseline=False)


@pytest.fixture(scope="module")
def tuned(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reviews") / "run"
    on_sample("text-classification", model, out, SHORT)
    return out


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("kind", list(FILES))
def test_every_task_on_its_rows_as_its_fine_tuning_scored_them(
    kind: str, model: Path, tmp_path: Path
) -> None:
    """The rows of the test split give the same scores again, with chance, baseline, n and answers."""
    file, columns = FILES[kind]
    train, run = SAMPLES / file, tmp_path / "run"
    done = on_sample(kind, model, run, SHORT, valid=train, test=train)
    before = content(run)
    found = xfm.score(
        run / "model", train, columns=columns, precision=Precision.FP32, device="cpu", progress=False
    )
    assert found.out == run / f"evaluation-{train.stem}"
    scores = read_scores(found.out / "metrics.json")
    primary = f"{kind}/test/{done.task.primary}"
    for key, score in scores.items():
        assert (score.value, score.n) == (pytest.approx(done.scores[key].value, abs=1e-6), done.scores[key].n)
    assert scores[primary].chance == pytest.approx(done.scores[primary].chance, abs=0.2)
    assert (scores[primary].baseline is None) == (kind == "retrieval")
    lines = [json.loads(line) for line in (found.out / "predictions.jsonl").read_text().splitlines()]
    assert len(lines) == len(found.predictions) == len(done.predictions["test"])
    assert all({"row", "truth", "prediction", "right"} <= line.keys() for line in lines)
    details = json.loads((found.out / "evaluation.json").read_text())
    assert details["made_by"]["command"] == "evaluate"
    intervals = details["intervals"].items()
    assert all(low - 1e-9 <= scores[key].value <= high + 1e-9 for key, (low, high) in intervals)
    page = (found.out / "report.html").read_text()
    assert primary in page
    assert str(train) in page
    assert "training rows</th>" not in page
    assert "A fine-tuned model on new rows" in page
    assert found.next_command in html.unescape(page)
    assert len(answers(found.next_command)) == 10
    assert {path: text for path, text in content(run).items() if path in before} == before


def test_a_regression(model: Path, tmp_path: Path) -> None:
    table = tmp_path / "values.csv"
    table.write_text("text,label\n" + "".join(f"it is {'red ' * n}now,{n}.5\n" for n in range(8)))
    config = FinetuneConfig(steps=2, batch_size=4, device="cpu", precision=Precision.FP32, regression=True)
    run = tmp_path / "run"
    done = xfm.finetune(
        "text-classification", model, table, run, valid=table, test=table, config=config, progress=False
    )
    found = xfm.score(run, table, precision=Precision.FP32, device="cpu", progress=False)
    for key, score in done.scores.items():
        assert found.scores[key].value == pytest.approx(score.value, abs=1e-5)
    baselines = json.loads((found.out / "evaluation.json").read_text())["baselines"]
    assert list(baselines["text-classification/test/r2"]) == ["mean of these rows"]


def test_one_says_what_a_fine_tuned_model_is_scored_on(
    tuned: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before, the embedded benchmark ran, and its metrics and report replaced those of the fine-tuning."""
    before = content(tuned)
    for options in ([], ["--parts", "digits"]):
        error = refused(capsys, "evaluate", tuned / "model", *options)
        assert f"{tuned / 'model'} was fine-tuned" in error
        assert "--test FILE" in error
        assert "--world worlds/emoji" in error
    assert content(tuned) == before


def test_the_embedded_data_on_request_into_a_folder_of_its_own(tuned: Path, tmp_path: Path) -> None:
    world, run = write_world(tmp_path / "squares"), Path(shutil.copytree(tuned, tmp_path / "run"))
    before = content(run)
    options = ["--parts", "paraphrase", "--scale", "0.01", "--device", "cpu", "--quiet"]
    assert main(["evaluate", str(run), "--world", str(world), *options]) == 0
    assert "paraphrase/test/accuracy" in read_scores(run / "evaluation-squares-scale-0.01" / "metrics.json")
    assert {path: text for path, text in content(run).items() if path in before} == before


def test_home_is_expanded(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(SAMPLES / "reviews.csv", tmp_path / "new.csv")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = xfm.score(tuned, "~/new.csv", "~/scores", device="cpu", progress=False)
    assert found.out == tmp_path / "scores"
    assert (found.out / "metrics.json").exists()
    assert not any(Path().iterdir())


def test_the_command(tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = tmp_path / "new.csv"
    lines = (SAMPLES / "reviews.csv").read_text().splitlines()
    rows.write_text("\n".join(["review,stars", *lines[1:], "odd,strange", "odder,strange"]) + "\n")
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    command = ["evaluate", str(run), "--test", str(rows), "--columns", "text=review,label=stars"]
    before = content(run)
    for name in ("evaluation-new", "evaluation-new-2"):
        assert main([*command, "--device", "cpu", "--quiet"]) == 0
        told = capsys.readouterr().out
        assert f"Report:  {run / name / 'report.html'}" in told
        assert "counted as wrong: 2 rows of 1 labels" in told
        assert f"'strange': 2, first {rows}:12" in told
        scores = read_scores(run / name / "metrics.json")
        assert "text-classification/test/accuracy: 95 % interval" in told
        share = max(Counter(line.rpartition(",")[2] for line in lines[1:]).values()) / 12
        assert scores["text-classification/test/accuracy"].baseline == pytest.approx(share)
        assert scores["text-classification/test/accuracy"].n == 12
    answers = [
        json.loads(line) for line in (run / "evaluation-new" / "predictions.jsonl").read_text().splitlines()
    ]
    assert [line["row"] for line in answers] == list(range(2, 14))
    assert [line["right"] for line in answers[-2:]] == [False, False]
    right = sum(line["right"] for line in answers) / 12
    assert scores["text-classification/test/accuracy"].value == pytest.approx(right)
    assert "strange" in (run / "evaluation-new" / "report.html").read_text()
    assert {path: text for path, text in content(run).items() if path in before} == before


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("--test NEW", ['new.csv: the column "label"', "it has 1, 0", "the model knows bad, good"]),
        ("--test SHAPES", ["no column 'text'"]),
        ("--test NEW --scale 0.1", ["--scale", "world"]),
        ("--test NEW --world NEW", ["--world"]),
        ("--columns text=a", ["--columns", "--test"]),
        ("--test NEW --box-format xyxy", ["box_format", "text-classification"]),
    ],
)
def test_what_is_wrong_is_named(
    given: str, words: list[str], tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"NEW": tmp_path / "new.csv", "SHAPES": SAMPLES / "shapes.csv"}
    places["NEW"].write_text("text,label\nfine,1\nbad,0\n")
    options = [places.get(word, word) for word in given.split()]
    error = refused(capsys, "evaluate", tuned, *options, "--out", tmp_path / "out")
    assert all(word in error for word in words), error
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_not_fine_tuned_is_named(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    error = refused(capsys, "evaluate", model, "--test", SAMPLES / "reviews.csv")
    assert f"{model} was not fine-tuned" in error


def test_results_of_something_else_are_not_replaced(
    tuned: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out = tmp_path / "new.csv", tmp_path / "out"
    shutil.copy(SAMPLES / "reviews.csv", rows)
    given = ["evaluate", str(tuned), "--test", str(rows), "--out", str(out)]
    assert main([*given, "--device", "cpu", "--quiet"]) == 0
    rows.write_text(rows.read_text() + "new,good\n")
    error = refused(capsys, *given)
    assert f"{out} holds results of `xfm evaluate`" in error
    assert "of another data" in error
    before = content(tuned)
    with pytest.raises(UserError, match=r"run holds results of `xfm finetune` .* --out .*run-2"):
        xfm.score(tuned, SAMPLES / "reviews.csv", tuned)
    assert content(tuned) == before
