"""A fine-tuned model on new labelled rows: `xfm evaluate MODEL --test FILE` and `xfm.score`."""

import html
import shutil
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import xfm
from tests.alike import some
from tests.finetuning import conftest
from tests.finetuning.conftest import FILES, SAMPLES, Cli, answers, on_sample
from tests.folders import content
from tests.reports.written import details_of, json_lines, page_of
from xfm.config.tasks import task_spec
from xfm.config.training import Precision
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
    assert "A model on new rows" in page
    assert found.next_command in html.unescape(page)
    assert len(answers(found.next_command)) == 10
    assert content(run).items() >= before.items()


@pytest.mark.parametrize("kind", ["retrieval", "sentence-similarity"])
def test_a_pretrained_model_scores_what_stands_beside_its_fine_tuning(
    kind: str, model: Path, tmp_path: Path, cli: Cli
) -> None:
    rows, out = SAMPLES / FILES[kind][0], tmp_path / "scored"
    on_sample(kind, model, tmp_path / "run", replace(SHORT, baseline=True), valid=rows, test=rows)
    scores = scored(model, rows, task=kind, out=out).scores
    beside = details_of(tmp_path / "run")["baselines"]
    for key, score in scores.items():
        assert beside[key]["the model before fine-tuning"] == pytest.approx(score.value, abs=1e-6)
    assert (out / "report.html").exists()
    cli.expect_refusal(
        ("--task sentence-similarity or retrieval",), "evaluate", model, "--test", rows, "--task", "vqa"
    )


def test_one_says_what_a_fine_tuned_model_is_scored_on(tuned: Path, cli: Cli) -> None:
    """Before, the embedded benchmark ran, and its metrics and report replaced those of the fine-tuning."""
    before = content(tuned)
    for options in ([], ["--parts", "digits"]):
        words = (f"{tuned / 'model'} was fine-tuned", "--test FILE", "--world worlds/emoji")
        cli.expect_refusal(words, "evaluate", tuned / "model", *options)
    assert content(tuned) == before


def test_the_command(tuned: Path, tmp_path: Path, cli: Cli) -> None:
    rows, lines = tmp_path / "new.csv", (SAMPLES / "reviews.csv").read_text().splitlines()
    rows.write_text("\n".join(["review,stars", *lines[1:], "odd,strange", "odder,strange"]) + "\n")
    run = Path(shutil.copytree(tuned, tmp_path / "run"))
    before = content(run)
    for name in ("evaluation-new", "evaluation-new-2"):
        told = cli.prints("evaluate", run, "--test", rows, "--columns", "text=review,label=stars")
        assert f"Report:  {run / name / 'report.html'}" in told
        assert "counted as wrong: 2 rows of 1 label" in told
        assert f"such as 'strange' ({rows}:12)" in told
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
