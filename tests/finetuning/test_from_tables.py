"""From a table, or rows in memory, to a model folder with scores and a report, for every task."""

import csv
import json
import shlex
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import xfm
from tests.alike import some, thorough
from tests.finetuning.conftest import (
    FILES,
    SAMPLES,
    SHORT,
    answers,
    on_sample,
    on_table,
    stopped,
    text_table,
)
from tests.refusals import expect_refusal
from tests.reports.written import details_of, json_lines, page_of
from xfm.config.finetune import TuningConfig, TuningMode
from xfm.config.image import STRONG
from xfm.config.task import ImageHead
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError
from xfm.data.tables import ColumnMap
from xfm.finetuning.baselines.strong import baselines_of
from xfm.finetuning.finetune import finetune_rows
from xfm.finetuning.leaderboard import SystemKind
from xfm.inference.prediction import predict
from xfm.inference.row_sources import ReadOptions
from xfm.reports.scores import read_scores
from xfm.tasks.rows import SplitRows

SINGLE = {
    "image-text-classification": {"text only", "picture only"},
    "vqa": {"question only"},
    "reasoning": {"text only"},
    "grounding": {"picture only"},
    "captioning": {"captions only"},
}


@pytest.mark.parametrize("kind", some([*FILES][::-1], 5))
def test_every_task_from_its_sample(kind: str, model: Path, tmp_path: Path) -> None:
    """In folders whose names a shell must be told in quotes."""
    place = Path(shutil.copytree(SAMPLES, tmp_path / "my samples ($1)"))
    out = tmp_path / "it's a run"
    done = on_sample(kind, model, out, folder=place)
    scores = done.scores
    assert read_scores(out / "metrics.json").items() >= scores.items()
    primary = f"{kind}/test/{done.task.primary}"
    assert scores[primary].n == len(done.predictions["test"]) > 0
    details = details_of(out)
    assert set(details["baselines"].get(primary, {})) >= SINGLE.get(kind, set())
    for score in scores.values():
        assert (score.seed, score.n) == (0, scores[primary].n)
    board = done.leaderboards["test"]
    assert json.loads(json.dumps(asdict(board))) == details["leaderboards"]["test"]
    assert board.model.value == pytest.approx(scores[primary].value)
    assert [place.value for place in board.places] == sorted((p.value for p in board.places), reverse=True)
    strong = {place.name: place.value for place in board.places if place.sort is SystemKind.STRONG}
    assert set(strong) == set(baselines_of(done.task))
    assert board.missing == {}
    assert {name: details["baselines"][primary][name] for name in strong} == pytest.approx(strong)
    split = json.loads((out / "split.json").read_text())["rows"]
    numbers = [number for part in split.values() for number in part]
    assert len(set(numbers)) == len(numbers) == 10
    page = page_of(out).replace("&#39;", "'")
    assert done.verdict in page
    assert primary in page
    assert "://" not in page.partition("Configuration, provenance")[0]
    assert not {"checkpoints", "best"} & {path.name for path in out.iterdir()}

    loaded = xfm.load_model(out / "model")
    told = loaded.task.task
    assert told.kind == kind
    assert len(told.labels) == (2 if task_spec(kind).classes else 0)
    assert set(told.answers) == set(done.task.answers.answers if kind == "vqa" else ())
    own = done.task.module.state_dict()
    assert own.keys() == loaded.task.state_dict().keys()
    assert all(torch.equal(own[name], tensor) for name, tensor in loaded.task.state_dict().items())
    assert details["next"] == done.next_command
    assert str(out) in shlex.split(done.next_command)[-1]
    assert len(answers(done.next_command)) == 10
    for blanked in SINGLE.get(kind, ()):
        assert (out / "baselines" / blanked.replace(" ", "-") / "log.jsonl").exists()


# ---------------------------------------------------------------- what is wrong is named
VALUES = [f"text {n},{n / 10}" for n in range(30)]


@pytest.mark.parametrize(
    ("table", "valid", "words"),
    [
        (["text 1,same"] * 9, [], ["1 class: same"]),
        (VALUES, [], ["30 different labels", "--regression"]),
        (["a,b"], [], ["a.csv has 1 row, too few"]),
        (["equal,good", "equal,bad"] * 5, [], ["a.csv: no rows can be parted", "--validation and --test"]),
        (["a,good", "b,bad"], ["fine,good", "odd,strange"], ["v.csv:3: ", "'strange'", "bad, good"]),
    ],
    ids=["one class", "values", "one row", "one text", "a new label"],
)
def test_labels_that_cannot_be_learned_are_named(table, valid, words, model, tmp_path):
    given = {"valid": text_table(tmp_path, valid, "v.csv")} if valid else {}
    with expect_refusal(*words):
        on_table(model, text_table(tmp_path, table), tmp_path / "out", **given)


# ---------------------------------------------------------------- resuming
VARIED = replace(SHORT, image=STRONG, average=0.9, layer_decay=0.8, image_head=ImageHead.PUBLISHED)


@thorough
@pytest.mark.parametrize(
    ("kind", "config"), [("vqa", replace(SHORT, interpolate=[0.5])), ("image-classification", VARIED)]
)
def test_a_stopped_run_goes_on_exactly(kind, config, model, tmp_path, monkeypatch):
    """Stopped by Ctrl-C between two looks, and continued: the same weights, looks and scores."""

    def run(out: Path, resume: bool = False, seed: int = 0) -> None:
        on_sample(kind, model, out, replace(config, lr=1e-3, seed=seed), resume=resume)

    run(tmp_path / "whole")
    with stopped(monkeypatch, tmp_path / "parts", 3):
        run(tmp_path / "parts")
    assert not (tmp_path / "parts" / "metrics.json").exists()
    split = (tmp_path / "parts" / "split.json").read_text()
    with pytest.raises(UserError, match="already holds a run"):
        run(tmp_path / "parts", seed=1)
    assert (tmp_path / "parts" / "split.json").read_text() == split
    with pytest.raises(UserError, match="seed was 0 and is now 1"):
        run(tmp_path / "parts", resume=True, seed=1)
    run(tmp_path / "parts", resume=True)
    for name in ("validation.jsonl", "metrics.json", "model/task.safetensors", "model/model.safetensors"):
        ours, theirs = ((tmp_path / run / name).read_bytes() for run in ("whole", "parts"))
        assert ours == theirs, name
    whole, parts = (details_of(tmp_path / run)["flags"] for run in ("whole", "parts"))
    assert [one["what"] for one in parts if one not in whole] == ["resumed"]


@thorough
def test_the_list_of_answers_has_an_end(model: Path, tmp_path: Path) -> None:
    """Of a table and of typed rows alike."""
    config = replace(SHORT, steps=1, max_answers=2, baseline=False)
    done = on_sample("vqa", model, tmp_path / "a", config)
    assert len(done.task.answers.answers) == 2
    rows = SplitRows(done.task.train_rows, test=done.task.train_rows)
    typed = finetune_rows("vqa", model, rows, config, tmp_path / "b", progress=False)
    assert typed.task.answers.answers == done.task.answers.answers


# ---------------------------------------------------------------- what learns
@pytest.mark.parametrize("tuning", some([TuningMode.LORA, TuningMode.FREEZE], 2))
def test_frozen_and_low_rank_encoders(model: Path, tmp_path: Path, tuning: TuningMode) -> None:
    """A frozen encoder keeps its weights, LoRA changes matrices only; both load as plain models."""
    if tuning is TuningMode.LORA:
        pytest.importorskip("peft")
    tune = TuningConfig(language=tuning, vision=tuning, rank=2)
    config = replace(SHORT, steps=4, lr=1e-2, tune=tune, baseline=False)
    done = on_sample("image-text-classification", model, tmp_path / "out", config)
    before, after = xfm.load_model(model).model, xfm.load_model(done.model)
    new = after.model.state_dict()
    assert before.state_dict().keys() == new.keys()
    changed = {name for name, tensor in before.state_dict().items() if not torch.equal(tensor, new[name])}
    encoders = {name for name in changed if name.startswith(("language.", "vision."))}
    assert any(name.startswith("fusion.layers") for name in changed)
    if tuning is TuningMode.FREEZE:
        assert encoders == set()
        return
    assert {"language.layers.0.attention.qkv.weight", "vision.blocks.1.fc2.weight"} <= encoders
    linear = (name for name, part in before.named_modules() if isinstance(part, torch.nn.Linear))
    assert encoders <= {f"{name}.weight" for name in linear}
    matrix = "language.layers.0.feed_forward.fc1.weight"
    difference = new[matrix] - before.state_dict()[matrix]
    assert torch.linalg.matrix_rank(difference, rtol=1e-3) <= 2


PLAIN = replace(SHORT, baseline=False)


def rows_of(kind: str) -> list[dict[str, Any]]:
    """The sample of a task, with the pictures decoded."""
    with (SAMPLES / FILES[kind][0]).open(encoding="utf-8-sig") as file:
        rows: list[dict[str, Any]] = [*csv.DictReader(file)]
    for row in rows:
        if "image" in row:
            row["image"] = Image.open(SAMPLES / row["image"])
    return rows


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
    with expect_refusal("that began otherwise"):
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
