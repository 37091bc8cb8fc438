"""A fine-tuned model on new labelled rows: `xfm evaluate MODEL --test FILE` and `xfm.score`."""

import html
import json
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import xfm
from tests.alike import some
from tests.evaluation.tiny import write_world
from tests.finetuning import conftest
from tests.finetuning.conftest import FILES, SAMPLES, Cli, answers, on_sample, on_table, text_table
from tests.folders import content
from tests.refusals import expect_refusal
from tests.reports.written import details_of, json_lines, page_of
from xfm.config.tasks import task_spec
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.finetuning.rescoring import ScoreResult
from xfm.metrics.numbers import percent
from xfm.reports.scores import read_scores

SHORT = replace(conftest.SHORT, steps=2, baseline=False)


@pytest.fixture(scope="module")
def tuned(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("reviews") / "run"
    on_sample("text-classification", model, out, SHORT)
    return out


def scored(run: Path, table: Path, **more: Any) -> ScoreResult:
    return xfm.score(run, table, precision=Precision.FP32, device="cpu", progress=False, **more)


@pytest.mark.parametrize("kind", some(FILES, 3))
def test_every_task_scores_its_rows_as_its_fine_tuning_did(kind: str, model: Path, tmp_path: Path) -> None:
    """The rows of the test split give the same scores again, with chance, baseline, n and answers."""
    file, columns = FILES[kind]
    train, run = SAMPLES / file, tmp_path / "run"
    done = on_sample(kind, model, run, SHORT, valid=train, test=train)
    before = content(run)
    found = scored(run / "model", train, columns=columns)
    assert found.out == run / f"evaluation-{train.stem}"
    scores = read_scores(found.out / "metrics.json")
    primary = f"{kind}/test/{done.task.primary}"
    for key, score in scores.items():
        assert (score.value, score.n) == (pytest.approx(done.scores[key].value, abs=1e-6), done.scores[key].n)
    assert scores[primary].chance == pytest.approx(done.scores[primary].chance, abs=0.2)
    assert (scores[primary].baseline is None) == task_spec(kind).ranks
    lines = json_lines(found.out / "predictions.jsonl")
    assert len(lines) == len(found.predictions) == len(done.predictions["test"])
    assert all({"row", "truth", "prediction", "right"} <= line.keys() for line in lines)
    details = details_of(found.out)
    assert details["made_by"]["command"] == "evaluate"
    for score in scores.values():
        assert score.low is not None
        assert score.high is not None
        assert score.low - 1e-9 <= score.value <= score.high + 1e-9
    page = page_of(found.out)
    assert primary in page
    assert str(train) in page
    assert "training rows</th>" not in page
    assert "A fine-tuned model on new rows" in page
    assert found.next_command in html.unescape(page)
    assert len(answers(found.next_command)) == 10
    assert content(run).items() >= before.items()


def test_a_regression(model: Path, tmp_path: Path) -> None:
    table = text_table(tmp_path, (f"it is {'red ' * n}now,{n}.5" for n in range(8)))
    config, run = replace(SHORT, baseline=True, regression=True), tmp_path / "run"
    done = on_table(model, table, run, config, valid=table, test=table)
    found = scored(run, table)
    for key, score in done.scores.items():
        assert found.scores[key].value == pytest.approx(score.value, abs=1e-5)
    baselines = details_of(found.out)["baselines"]
    assert list(baselines["text-classification/test/r2"]) == ["mean of these rows"]


def test_kinds_of_questions_count_their_own(model: Path, samples: Path, tmp_path: Path) -> None:
    table = samples / "questions.jsonl"
    rows = json_lines(table)
    kinds = ["what colour" if row["q"].startswith("what") else "other" for row in rows]
    lines = [json.dumps({**row, "kind": kind}) for row, kind in zip(rows, kinds, strict=True)]
    table.write_text("\n".join(lines) + "\n")
    done = on_sample("vqa", model, tmp_path / "out", SHORT, samples, test=table)
    counts = {key.rpartition("/")[2]: score.n for key, score in done.scores.items()}
    several = kinds.count("what colour")
    assert 0 < several < 10
    assert counts == {"accuracy": 10, "accuracy_what_colour": several, "accuracy_other": 10 - several}


def test_a_search_for_pictures_counts_the_captions(model: Path, samples: Path, tmp_path: Path) -> None:
    table = samples / "captions.csv"
    table.write_text(table.read_text() + "pictures/1.png,two shapes\npictures/2.png,a pair of shapes\n")
    done = on_sample("retrieval", model, tmp_path / "out", SHORT, samples, test=table)
    assert done.scores["retrieval/test/text_r1_rerank"].n == 10
    assert done.scores["retrieval/test/image_r1_rerank"].n == done.scores["retrieval/test/image_r5"].n == 12


def test_one_says_what_a_fine_tuned_model_is_scored_on(tuned: Path, cli: Cli) -> None:
    """Before, the embedded benchmark ran, and its metrics and report replaced those of the fine-tuning."""
    before = content(tuned)
    for options in ([], ["--parts", "digits"]):
        words = (f"{tuned / 'model'} was fine-tuned", "--test FILE", "--world worlds/emoji")
        cli.expect_refusal(words, "evaluate", tuned / "model", *options)
    assert content(tuned) == before


def test_the_embedded_data_on_request_into_a_folder_of_its_own(tuned: Path, tmp_path: Path, cli: Cli) -> None:
    world, run = write_world(tmp_path / "squares"), Path(shutil.copytree(tuned, tmp_path / "run"))
    before = content(run)
    cli.prints("evaluate", run, "--world", world, "--parts", "paraphrase", "--scale", 0.01)
    assert "paraphrase/test/accuracy" in read_scores(run / "evaluation-squares-scale-0.01" / "metrics.json")
    assert content(run).items() >= before.items()


def test_home_is_expanded(tuned: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(SAMPLES / "reviews.csv", tmp_path / "new.csv")
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    found = xfm.score(tuned, "~/new.csv", "~/scores", device="cpu", progress=False)
    assert found.out == tmp_path / "scores"
    assert (found.out / "metrics.json").exists()
    assert not any(Path().iterdir())


def test_the_command(tuned: Path, tmp_path: Path, cli: Cli) -> None:
    rows, lines = tmp_path / "new.csv", (SAMPLES / "reviews.csv").read_text().splitlines()
    rows.write_text("\n".join(["review,stars", *lines[1:], "odd,strange", "odder,strange"]) + "\n")
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    before = content(run)
    for name in ("evaluation-new", "evaluation-new-2"):
        told = cli.prints("evaluate", run, "--test", rows, "--columns", "text=review,label=stars")
        assert f"Report:  {run / name / 'report.html'}" in told
        assert "counted as wrong: 2 rows of 1 label" in told
        assert f"'strange': 2, first {rows}:12" in told
        scores = read_scores(run / name / "metrics.json")
        score = scores["text-classification/test/accuracy"]
        assert score.low is not None
        assert score.high is not None
        assert f"{100 * score.low:.1f} to {percent(score.high)}" in told
        share = max(Counter(line.rpartition(",")[2] for line in lines[1:]).values()) / 12
        assert scores["text-classification/test/accuracy"].baseline == pytest.approx(share)
        assert scores["text-classification/test/accuracy"].n == 12
    answers = json_lines(run / "evaluation-new" / "predictions.jsonl")
    assert [line["row"] for line in answers] == list(range(2, 14))
    assert [line["right"] for line in answers[-2:]] == [False, False]
    right = sum(line["right"] for line in answers) / 12
    assert scores["text-classification/test/accuracy"].value == pytest.approx(right)
    assert "strange" in page_of(run / "evaluation-new")
    assert content(run).items() >= before.items()


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
def test_what_is_wrong_is_named(given: str, words: list[str], tuned: Path, tmp_path: Path, cli: Cli) -> None:
    places = {"NEW": tmp_path / "new.csv", "SHAPES": SAMPLES / "shapes.csv"}
    places["NEW"].write_text("text,label\nfine,1\nbad,0\n")
    options = [places.get(word, word) for word in given.split()]
    cli.expect_refusal(words, "evaluate", tuned, *options, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_model_that_was_not_fine_tuned_is_named(model: Path, tmp_path: Path) -> None:
    with expect_refusal(f"{model} was not fine-tuned"):
        xfm.score(model, SAMPLES / "reviews.csv", tmp_path / "out")


def test_results_of_something_else_are_not_replaced(tuned: Path, tmp_path: Path, cli: Cli) -> None:
    rows, out = tmp_path / "new.csv", tmp_path / "out"
    shutil.copy(SAMPLES / "reviews.csv", rows)
    given = ("evaluate", tuned, "--test", rows, "--out", out)
    cli.prints(*given)
    rows.write_text(rows.read_text() + "new,good\n")
    cli.expect_refusal([f"{out} holds results of `xfm evaluate`", "of another data"], *given)
    before = content(tuned)
    with pytest.raises(UserError, match=r"run holds results of `xfm finetune` .* --out .*run-2"):
        xfm.score(tuned, SAMPLES / "reviews.csv", tuned)
    assert content(tuned) == before
