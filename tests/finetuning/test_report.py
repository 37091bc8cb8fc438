"""The report says what the predictions say and what was out of the ordinary; its command works as pasted."""

import csv
import shlex
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchmetrics.classification import MulticlassCalibrationError

from tests.alike import thorough
from tests.finetuning.conftest import SAMPLES, SHORT, Cli, answers, on_sample, on_table, text_table
from tests.reports.written import Page, details_of, page_of
from xfm.config.next_command import command_line
from xfm.finetuning.flags import seen_rows
from xfm.finetuning.report import classes_of
from xfm.metrics.intervals import wilson_interval
from xfm.metrics.numbers import percent
from xfm.reports.scores import read_scores
from xfm.tasks.class_task import ClassTask
from xfm.tasks.rows import LabelledText
from xfm.tasks.text_classification import TextClassificationTask


def test_scores_classes_pictures_and_confidence(model: Path, tmp_path: Path) -> None:
    done = on_sample("image-classification", model, tmp_path / "out", test=SAMPLES / "shapes.csv")
    page = Page(page_of(tmp_path / "out"))
    score = done.scores["image-classification/test/accuracy"]
    interval = wilson_interval(score.value, score.n)
    assert f"{percent(interval.low)} \u2013 {percent(interval.high)}" in page.text
    assert "10 test rows give intervals wider than 10 points" in page.text
    assert "rest on only" not in page.text
    task = done.task
    assert isinstance(task, ClassTask)
    rows = list(task.train_rows)
    found = classes_of(task, rows, task.predict(rows))
    assert [line["name"] for line in found["lines"]] == ["circle", "square"]
    assert sum(line["test"] for line in found["lines"]) == len(rows) == sum(map(sum, found["matrix"]))
    assert [line["train"] for line in found["lines"]] == [line["test"] for line in found["lines"]]
    off = sum(n for i, line in enumerate(found["matrix"]) for j, n in enumerate(line) if i != j)
    assert sum(count for _, _, count in found["confusions"]) == off
    wrong = round((1 - score.value) * 10)
    sources = [address for address in page.addresses if not address.startswith("#")]
    assert len(sources) == wrong
    assert all(source.startswith("data:image/jpeg;base64,") for source in sources)

    labels = [label for _, label in csv.reader((SAMPLES / "shapes.csv").open())][1:]
    probabilities = torch.tensor([one.probabilities for one in done.predictions["test"]])
    truth = task.labels.targets([(label,) for label in labels])
    reference = MulticlassCalibrationError(num_classes=2, n_bins=1, norm="l1")(probabilities, truth)
    score = read_scores(tmp_path / "out" / "metrics.json")["image-classification/test/calibration_error"]
    assert (score.value, score.n) == (pytest.approx(float(reference), abs=1e-5), 10)
    assert f"Expected calibration error: {percent(score.value)}" in page.text
    assert "sure on average, and right in" in page.text
    assert "calibration_error" not in page.text  # it is no score that is better if larger


def test_the_next_command_works_and_wrong_cases_have_a_row(model, samples, tmp_path):
    table = (samples / "reviews.csv").rename(samples / "my reviews.csv")
    table.write_text(table.read_text().replace("text,label", "said,label", 1))
    out = tmp_path / "out"
    done = on_table(model, table, out, test=table, columns="text=said,label=label")
    page = Page(page_of(out))
    _, *labels = [row[-1] for row in csv.reader(table.open())]
    pairs = enumerate(zip(labels, done.predictions["test"], strict=True), start=2)
    wrong = [number for number, (label, one) in pairs if one.label != label]
    assert wrong
    assert all(f"my reviews.csv:{number}" in page.text for number in wrong)
    command = details_of(out)["next"]
    assert command in page.text
    assert len(answers(command)) == len(labels)


@given(st.lists(st.integers(0, 9)), st.lists(st.integers(0, 9)))
def test_rows_of_the_training_are_counted(train: list[int], test: list[int]) -> None:
    learned, scored = ([LabelledText(f"text {n}", "a") for n in own] for own in (train, test))
    flag = seen_rows(TextClassificationTask, learned, {"validation": [], "test": scored})
    count = sum(n in train for n in test)
    assert (flag is None) == (count == 0)
    if flag:
        assert flag.sentence.startswith(f"{count} of {len(test)} test rows have texts of training rows")


@thorough
def test_a_table_that_is_learned_from_and_scored_is_flagged(model: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    on_sample("image-classification", model, out, replace(SHORT, baseline=False), test=SAMPLES / "shapes.csv")
    page = Page(page_of(out)).text
    assert "9 of 10 test rows have pictures of training rows" in page  # one became a validation row
    assert "The test rows were in no training" not in page


def test_names_are_shown_not_run(model: Path, tmp_path: Path) -> None:
    nasty = "<script>alert('x')</script>"
    rows = [f"text {n} {nasty},{('red', 'blue', 'red|blue')[n % 3]}" for n in range(30)]
    on_table(model, text_table(tmp_path, rows), tmp_path / "out", replace(SHORT, baseline=False))
    page = Page(page_of(tmp_path / "out"))
    assert "script" not in page.tags
    assert nasty in page.text


@thorough
def test_a_shortened_run_is_flagged_in_the_report_and_last(model: Path, tmp_path: Path, cli: Cli) -> None:
    out = tmp_path / "out"
    given = ("--model", model, "--train", SAMPLES / "reviews.csv", "--out", out, "--steps", 5)
    last = cli.prints("finetune", "text-classification", *given).splitlines()[-3:]
    assert last[0].startswith("Flagged: shortened: only 5 steps, 8.3 % of the 60 that fit so many rows")
    assert last[1].startswith("Flagged: few rows: ")
    assert last[2].startswith("Verdict: ")
    assert "only 5 steps, 8.3 % of the 60 that fit so many rows" in page_of(out)
    assert [flag["what"] for flag in details_of(out)["flags"]] == ["shortened", "few rows"]
    assert "leave --steps out" in last[0]


QUICKLY = ("--steps", 1, "--batch-size", 4, "--precision", "fp32", "--baseline", "false")


def shown_by(cli: Cli, *words: object) -> str:
    """The command that a command ends with."""
    (line,) = [line for line in cli.prints(*words).splitlines() if line.startswith("Use it:")]
    return line.removeprefix("Use it:")


@pytest.mark.parametrize("inside", [False, True])
def test_a_command_works_where_xfm_is_not_on_the_path(monkeypatch, tmp_path, inside):
    """After `make`, nobody has activated the environment: its program is named by its path."""
    bin_folder = Path(sys.executable).parent
    assert command_line("evaluate", Path("a b"), world="$w") == "xfm evaluate 'a b' --world '$w'"
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    monkeypatch.chdir(bin_folder.parent.parent if inside else tmp_path)
    words = shlex.split(command_line("--version"))
    own = bin_folder.relative_to(Path.cwd()) if inside else bin_folder
    assert words == [f"{own}/xfm", "--version"]
    assert subprocess.run(words, capture_output=True, text=True, check=True).stdout.startswith("xfm ")


def test_captions_search_among_their_pictures_alone(model, tmp_path, monkeypatch, cli):
    """Not among everything below the table's folder, which is often that of all runs and worlds."""
    shutil.copytree(SAMPLES, tmp_path, dirs_exist_ok=True)
    shutil.copytree(SAMPLES / "pictures", tmp_path / "others")
    monkeypatch.chdir(tmp_path)
    given = ("--model", model, "--train", "captions.csv", "--out", "run", *QUICKLY)
    command = shown_by(cli, "finetune", "retrieval", *given)
    assert "--gallery pictures " in command
    assert {Path(hit["image"]).parts[0] for hit in answers(command)[0]} == {"pictures"}
