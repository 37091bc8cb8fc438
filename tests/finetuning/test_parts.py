"""Plan, early stopping and reading, each by itself; settings that a task does not read are refused."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.alike import some
from tests.finetuning.conftest import FILES, SAMPLES, SHORT
from tests.refusals import expect_refusal
from tests.reports.written import json_lines
from xfm.config.finetune import FinetuneConfig, TuningConfig, TuningMode
from xfm.config.image import Colours, Framing, ImageTrainingConfig, MirrorRule, Operations
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.task import ImageHead
from xfm.config.tasks import task_spec, task_specs
from xfm.data.tables import ColumnMap
from xfm.finetuning.data import Tables, read_data
from xfm.finetuning.early_stopping import ValidationMonitor
from xfm.finetuning.presets import check_applicable, epochs, fitted, special_settings, task_settings
from xfm.finetuning.session import Session
from xfm.tasks.base import HiddenInput
from xfm.tasks.grounding import GroundingTask


# ---------------------------------------------------------------- plan
@given(st.integers(1, 10**7), st.sampled_from([32, 192, 768, 1024]))
def test_a_plan_fits(rows: int, width: int) -> None:
    plan = fitted(FinetuneConfig(), rows, width)
    assert plan.batch_size in (8, 16, 32, 64)
    assert 3 <= epochs(rows) <= 30
    assert plan.steps >= 60
    assert plan.steps * plan.batch_size >= 3 * rows
    assert 1 <= -(-plan.steps // plan.evaluate_every) <= 20
    assert plan.lr * width == pytest.approx(4e-5 * 768)
    assert plan.optim(plan.steps).warmup < plan.steps


# ---------------------------------------------------------------- early stopping
class Measured:
    """A task whose validation metrics are what a test says."""

    spec, primary = task_spec("text-classification"), "accuracy"

    def __init__(self, **found: float) -> None:
        self.module = torch.nn.Linear(1, 1)
        self.found = found

    def predict(self, rows: Any) -> Any:
        return rows

    def validation_metrics(self, rows: Any, predictions: Any) -> dict[str, float]:
        return self.found


def watch_of(task: Measured, folder: Path | None, **changes: Any) -> ValidationMonitor:
    return ValidationMonitor(task, [1], FinetuneConfig(**changes), folder, False)  # type: ignore[arg-type]


def watched(values, folder, patience=2, steps=1):
    """A watch after training until it stops: it, the task, and the last step."""
    task = Measured()
    watch = watch_of(task, folder, evaluate_every=1, patience=patience, steps=steps)
    for step, value in enumerate(values, start=1):
        task.found = {"accuracy": value}
        with torch.no_grad():
            task.module.weight.fill_(step)
        if watch.finished(step):
            return watch, task, step
    return watch, task, len(values)


@pytest.mark.parametrize(
    ("values", "stopped", "best"),
    [
        ([0.1, 0.5, 0.4, 0.3, 0.9], 4, 2),
        ([0.1, 0.5, 0.4, 0.6, 0.5, 0.5], 6, 4),
        ([0.5, 0.5, 0.5], 3, 3),  # of equal ones the last
    ],
)
def test_the_best_is_kept(tmp_path: Path, values: list[float], stopped: int, best: int) -> None:
    watch, task, step = watched(values, tmp_path)
    assert step == stopped
    assert watch.best == best
    watch.restore()
    assert task.module.weight.item() == best
    assert [line["accuracy"] for line in json_lines(tmp_path / "validation.jsonl")] == values[:stopped]


# ---------------------------------------------------------------- reading
@pytest.mark.parametrize(
    ("layout", "scale", "text"),
    [
        (BoxFormat.XYWH, BoxUnit.PIXEL, "6 17 20 20"),
        (BoxFormat.CXCYWH, BoxUnit.PIXEL, "16 27 20 20"),
        (BoxFormat.XYXY, BoxUnit.FRACTION, '"[0.09375, 0.265625, 0.40625, 0.578125]"'),
    ],
)
def test_a_box_however_it_is_written(samples: Path, layout: BoxFormat, scale: BoxUnit, text: str) -> None:
    table, config = samples / "b.csv", FinetuneConfig(box_format=layout, box_unit=scale)
    table.write_text(f"image,phrase,box\npictures/1.png,it,{text}\n")
    data, _ = read_data(GroundingTask, Tables(table, table, table), config, samples / "out")
    assert data.train[0].boxes[0] == pytest.approx((6 / 64, 17 / 64, 26 / 64, 37 / 64))


def test_no_picture_is_in_two_splits(samples: Path) -> None:
    kind, task = "claims.csv", task_spec("image-text-classification").task_class()
    head, *rows = (samples / kind).read_text().splitlines()
    twice = [row for number, row in enumerate(rows) for _ in range(1 + number % 3)]
    (samples / "t.csv").write_text("\n".join([head, *twice]) + "\n")
    data, _ = read_data(task, Tables(samples / "t.csv"), FinetuneConfig(), samples / "out")
    parts = [{row.images for row in part} for part in (data.train, data.valid, data.test)]
    assert not any(one & other for one in parts for other in parts if one is not other)
    assert sum(map(len, parts)) == 10
    numbers = json.loads((samples / "out" / "split.json").read_text())["rows"]
    assert sorted(number for part in numbers.values() for number in part) == list(range(2, 2 + len(twice)))


CHANGED: dict[str, Any] = {
    "image_head": ImageHead.PUBLISHED,
    "framing": Framing.CENTRE,
    "colours": Colours.HALF,
    "grey": True,
    "prompt": "a picture of",
    "label_smoothing": 0.0,
    "max_answers": 7,
    "max_tokens": 9,
    "box_format": BoxFormat.XYXY,
    "box_unit": BoxUnit.FRACTION,
    "rows_per_picture": 1,
    "max_words": 7,
    "regression": True,
    "multi_label": True,
    "label_separator": ";",
    "threshold": 0.3,
    "class_weights": "balanced",
    "dimensions": [2],
    "hard_negatives": 2,
}
BESIDE = {"threshold": "multi_label"}
"""Settings that need another one, which is then the first that a task has no use for."""
CHANGED_IMAGE: dict[str, Any] = {
    "aspect": 2.0,
    "rand_augment": 1,
    "magnitude": 3,
    "operations": Operations.COLOUR,
    "sides": MirrorRule.IGNORE,
}
SHARE = 0.5
"""A value of the other settings of pictures that is not their default."""


def changed(name: str) -> FinetuneConfig:
    """A configuration with another value of one setting."""
    part, _, own = name.partition(".")
    if part == "image":
        return FinetuneConfig(image=ImageTrainingConfig(**{own: CHANGED_IMAGE.get(own, SHARE)}))
    if part == "tune":
        return FinetuneConfig(tune=replace(TuningConfig(), **{own: TuningMode.FREEZE}))
    return replace(FinetuneConfig(), **{one: CHANGED[one] for one in (name, BESIDE.get(name, name))})


@pytest.mark.parametrize("kind", FILES)
def test_a_setting_is_refused_where_it_does_nothing(kind: str) -> None:
    spec = task_spec(kind)
    check_applicable(spec, FinetuneConfig())
    for name in special_settings():
        config = changed(name)
        if spec.draws and name == "image.rand_augment":
            with expect_refusal("operations", kind, "colour"):
                check_applicable(spec, config)
            config = FinetuneConfig(image=replace(config.image, operations=Operations.COLOUR))
        if spec.reads(name):
            check_applicable(spec, config)
            continue
        readers = [one.name for one in task_specs(tunable=True) if one.reads(name)]
        with expect_refusal(BESIDE.get(name, name), kind, *readers):
            check_applicable(spec, config)


@pytest.mark.parametrize("kind", some(FILES, 3))
def test_the_encoders_that_a_task_tunes_are_those_of_its_loss(kind: str, model: Path, tmp_path: Path) -> None:
    file, columns = FILES[kind]
    tables = Tables(SAMPLES / file, columns=ColumnMap.parse(columns))
    found = read_data(task_spec(kind).task_class(), tables, SHORT, tmp_path)
    session = Session.begin(kind, model, SHORT, tmp_path, False, lambda *_: found)
    settings = task_settings(session.config, HiddenInput.NOTHING)
    task = session.type(session.pretrained, session.pictures, session.data, settings)
    assert (task.group(task.cases[0]) is not None) == task_spec(kind).reads("rows_per_picture")
    batch = next(task.portions(0, 1)).batch
    task.loss(batch, torch.Generator()).total.backward()
    whole = getattr(task.module, "model", task.module)
    encoders = {name: getattr(whole, name, None) for name in ("language", "vision", "fusion")}
    reached = {
        name
        for name, encoder in encoders.items()
        if encoder is not None and any(one.grad is not None for one in encoder.parameters())
    }
    assert reached == set(task_spec(kind).encoders)
