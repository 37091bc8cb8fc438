"""Rows that a program holds are learned from, scored and answered as those of files are."""

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import xfm
from tests.finetuning.conftest import FILES, SAMPLES, SHORT, on_table
from tests.refusals import expect_refusal
from tests.reports.written import details_of, json_lines
from xfm.data.tables import ColumnMap
from xfm.inference.prediction import predict
from xfm.inference.row_sources import ReadOptions

PLAIN = replace(SHORT, baseline=False)


def rows_of(kind: str) -> list[dict[str, Any]]:
    """The sample of a task, with the pictures decoded."""
    with (SAMPLES / FILES[kind][0]).open(encoding="utf-8-sig") as file:
        rows: list[dict[str, Any]] = [*csv.DictReader(file)]
    for row in rows:
        if "image" in row:
            row["image"] = Image.open(SAMPLES / row["image"])
    return rows


def test_texts_learn_the_same_from_a_frame_and_from_a_file(model: Path, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    kind = "text-classification"
    frame = pandas.read_csv(SAMPLES / FILES[kind][0])
    found = on_table(model, frame, tmp_path / "frame", PLAIN, kind)
    expected = on_table(model, SAMPLES / FILES[kind][0], tmp_path / "file", PLAIN, kind)
    own, other = found.task.module.state_dict(), expected.task.module.state_dict()
    assert all(torch.equal(own[name], other[name]) for name in other)
    sources = details_of(tmp_path / "frame")["sources"]
    assert sources["train"] == "train (DataFrame)"
    assert sources["test"].endswith("rows of train (DataFrame), drawn by seed 0")
    assert "new.csv" in found.next_command


def test_a_configuration_is_no_dictionary(model: Path, tmp_path: Path) -> None:
    settings: Any = {"preset": "fast"}
    with expect_refusal("config is of type dict", "FinetuneConfig"):
        on_table(model, rows_of("text-classification"), tmp_path / "out", settings)
    assert not (tmp_path / "out").exists()


def test_pictures_in_memory(model: Path, tmp_path: Path) -> None:
    kind = "image-classification"
    rows = rows_of(kind)
    splits = {"train": rows, "validation": rows[:4], "test": rows[4:]}
    found = on_table(model, splits, tmp_path / "run", PLAIN, kind)
    assert len(found.predictions["test"]) == len(rows) - 4
    stored = {path.suffix for path in (tmp_path / "run" / "pictures").iterdir()}
    assert stored == {".png"}
    scored = xfm.score(found.model, rows[4:], progress=False, device="cpu", precision="fp32")
    assert scored.out == tmp_path / "run" / "evaluation-rows"
    assert scored.predictions == found.predictions["test"]

    pipe = xfm.pipeline(kind, found.model)
    reading = ReadOptions(pipe.spec.inputs, ColumnMap(), ("label",))
    out = tmp_path / "answers.jsonl"
    assert predict(pipe, rows, out, reading=reading).answered == len(rows)
    written = json_lines(out)
    assert [line["label"] for line in written] == [row["label"] for row in rows]
    assert [line["prediction"] for line in written] == pipe([row["image"] for row in rows])
    assert predict(pipe, rows, out, reading=reading).answered == 0  # they are known again
    with expect_refusal("input"):
        predict(pipe, rows[::-1], out, reading=reading)


def test_a_row_is_named_before_any_training(model: Path, tmp_path: Path) -> None:
    rows = [{"text": f"text {n}", "label": "ab"[n % 2]} for n in range(8)]
    rows[2]["label"] = None
    with expect_refusal("train (list):3", '"label" is empty'):
        on_table(model, rows, tmp_path / "run")
    bad = [{"image": Image.new("RGB", (8, 8), (n, 0, 0)), "label": "ab"[n % 2]} for n in range(16)]
    bad[3]["image"] = b"no picture"
    found = on_table(model, bad, tmp_path / "pictures", PLAIN, "image-classification")
    assert found.left_out.startswith("1 of 16 rows was left out: train (list):4")
    with expect_refusal("train is of type int", "DataFrame"):
        on_table(model, 7, tmp_path / "other")
