"""The report says what the predictions say, and nothing in it comes alive."""

import csv
import json
import shlex
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest
import torch
from torchmetrics.classification import MulticlassCalibrationError

import xfm
from tests.finetuning.conftest import SAMPLES, SHORT, on_sample
from xfm.cli import main
from xfm.finetuning.report import classes_of
from xfm.metrics.intervals import wilson_interval
from xfm.metrics.numbers import percent
from xfm.reports.scores import read_scores
from xfm.tasks.class_task import ClassTask
from xfm.tasks.rows import Labelled, LabelledText

NASTY = "<script>alert('x')</script>"


class Tags(HTMLParser):
    """Tags, image sources and text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.sources: list[str] = []
        self.text = ""
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.sources += [value or "" for name, value in attrs if name == "src"]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_names_and_texts_are_shown_not_run(model: Path, tmp_path: Path) -> None:
    rows = [f'"text {number} {NASTY}","{NASTY if number % 2 else "plain"}"' for number in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    xfm.finetune(
        "text-classification", model, tmp_path / "a.csv", tmp_path / "out", config=SHORT, progress=False
    )
    page = Tags((tmp_path / "out" / "report.html").read_text())
    assert "script" not in page.tags
    assert NASTY in page.text


def test_scores_classes_and_pictures(model: Path, tmp_path: Path) -> None:
    done = on_sample("image-classification", model, tmp_path / "out", test=SAMPLES / "shapes.csv")
    page = Tags((tmp_path / "out" / "report.html").read_text())
    score = done.scores["image-classification/test/accuracy"]
    interval = wilson_interval(score.value, score.n)
    assert f"{percent(interval.low)} \u2013 {percent(interval.high)}" in page.text
    assert "10 test rows give intervals wider than 10 points" in page.text
    assert "rest on only" not in page.text
    task = done.task
    assert isinstance(task, ClassTask)
    rows = list(task.train_rows)
    found = classes_of(task, rows, task.predict(rows))
    assert [line.name for line in found.lines] == ["circle", "square"]
    assert sum(line.test for line in found.lines) == len(rows) == sum(map(sum, found.matrix))
    assert [line.train for line in found.lines] == [line.test for line in found.lines]
    off = sum(n for i, line in enumerate(found.matrix) for j, n in enumerate(line) if i != j)
    assert sum(count for _, _, count in found.confusions) == off
    wrong = round((1 - score.value) * 10)
    assert len(page.sources) == wrong
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)


def test_without_a_test_split_the_report_says_so(model: Path, tmp_path: Path) -> None:
    table = SAMPLES / "reviews.csv"
    done = xfm.finetune(
        "text-classification", model, table, tmp_path / "out", valid=table, config=SHORT, progress=False
    )
    assert set(done.predictions) == {"validation"}
    page = (tmp_path / "out" / "report.html").read_text()
    assert "There is no test split" in page


def test_what_is_next_can_be_pasted_and_wrong_cases_have_their_row(
    model: Path, samples: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = (samples / "reviews.csv").rename(samples / "my reviews.csv")
    table.write_text(table.read_text().replace("text,label", "said,label", 1))
    out = tmp_path / "out"
    done = xfm.finetune(
        "text-classification",
        model,
        table,
        out,
        test=table,
        columns="text=said,label=label",
        config=SHORT,
        progress=False,
    )
    page = Tags((out / "report.html").read_text())
    lines = table.read_text().splitlines()
    task = done.task
    assert isinstance(task, ClassTask)
    rows = [LabelledText(*next(csv.reader([line]))) for line in lines[1:]]
    wrong = [
        number
        for number, (row, one) in enumerate(zip(rows, done.predictions["test"], strict=True), 2)
        if one.label != row.label
    ]
    assert wrong
    assert all(f"my reviews.csv:{number}" in page.text for number in wrong)
    command = json.loads((out / "evaluation.json").read_text())["next"]
    assert command in page.text
    words = shlex.split(command)
    assert words[0] == "xfm"
    assert main([*words[1:], "--quiet"]) == 0
    assert len((out / "answers.jsonl").read_text().splitlines()) == len(rows)


def test_confidence_is_shown_beside_what_is_right(model: Path, tmp_path: Path) -> None:
    table, out = SAMPLES / "shapes.csv", tmp_path / "out"
    done = on_sample("image-classification", model, out, test=table)
    task = done.task
    assert isinstance(task, ClassTask)
    rows = [Labelled(SAMPLES / image, label) for image, label in csv.reader(table.open()) if label != "label"]
    probabilities = torch.tensor([one.probabilities for one in done.predictions["test"]])
    truth = torch.tensor([task.labels.names.index(row.label) for row in rows])
    reference = MulticlassCalibrationError(num_classes=2, n_bins=15, norm="l1")(probabilities, truth)
    score = read_scores(out / "metrics.json")["image-classification/test/calibration_error"]
    assert (score.value, score.n) == (pytest.approx(float(reference), abs=1e-5), 10)
    page = Tags((out / "report.html").read_text())
    assert f"Expected calibration error: {percent(score.value)}" in page.text
    assert "sure on average, and right in" in page.text
    assert "calibration_error" not in page.text  # it is no score that is better if larger


def test_values_have_no_classes(model: Path, tmp_path: Path) -> None:
    rows = [f"text {number},{number / 7}" for number in range(30)]
    (tmp_path / "a.csv").write_text("\n".join(["text,label", *rows]) + "\n")
    done = xfm.finetune(
        "text-classification",
        model,
        tmp_path / "a.csv",
        tmp_path / "out",
        config=replace(SHORT, regression=True),
        progress=False,
    )
    page = Tags((tmp_path / "out" / "report.html").read_text())
    assert "correlation (Pearson)" in page.text
    assert "Confusion matrix" not in page.text
    score = done.scores["text-classification/test/pearson"]
    assert score.baseline == pytest.approx(0.0)
    loaded = xfm.load_model(tmp_path / "out" / "model")
    assert loaded.task is not None
    assert (loaded.task.task.classes, loaded.task.task.labels) == (1, ())


def test_curves_are_called_as_scores_are(model: Path, tmp_path: Path) -> None:
    on_sample("retrieval", model, tmp_path / "out")
    text = Tags((tmp_path / "out" / "report.html").read_text()).text
    assert "validation: picture → caption, R@1" in text
    assert "text r1" not in text
