"""Settings that a task does not read are refused; which ones those are agrees with what the tasks do."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.finetuning.conftest import FILES, SAMPLES, SHORT, on_sample
from tests.refusals import expect_refusal
from xfm.config.finetune import FinetuneConfig, TuningConfig, TuningMode
from xfm.config.image import Colours, Framing, ImageTrainingConfig, MirrorRule, Operations
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.task import ImageHead
from xfm.config.tasks import task_spec, task_specs
from xfm.data.tables import ColumnMap
from xfm.finetuning.data import Tables, read_data
from xfm.finetuning.presets import check_applicable, special_settings, task_settings
from xfm.finetuning.session import Session
from xfm.tasks.base import HiddenInput

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
    "regression": True,
    "multi_label": True,
    "label_separator": ";",
    "threshold": 0.3,
    "class_weights": "balanced",
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
@pytest.mark.parametrize("name", special_settings())
def test_a_setting_is_refused_where_it_does_nothing(name: str, kind: str) -> None:
    config, spec = changed(name), task_spec(kind)
    check_applicable(spec, FinetuneConfig())
    if spec.draws and name == "image.rand_augment":
        with expect_refusal("operations", kind, "colour"):
            check_applicable(spec, config)
        config = FinetuneConfig(image=replace(config.image, operations=Operations.COLOUR))
    if spec.reads(name):
        check_applicable(spec, config)
        return
    readers = [one.name for one in task_specs(tunable=True) if one.reads(name)]
    with expect_refusal(BESIDE.get(name, name), kind, *readers):
        check_applicable(spec, config)


def test_nothing_is_written_before_a_setting_is_refused(tmp_path: Path) -> None:
    with expect_refusal("image_head", "text-classification"):
        on_sample("text-classification", tmp_path / "no model", tmp_path / "out", changed("image_head"))
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", FILES)
def test_the_encoders_that_a_task_tunes_are_those_of_its_loss(kind: str, model: Path, tmp_path: Path) -> None:
    file, columns = FILES[kind]
    tables = Tables(SAMPLES / file, columns=ColumnMap.parse(columns))
    data, _ = read_data(task_spec(kind).task_class(), tables, SHORT, tmp_path)
    session = Session.begin(kind, model, data, SHORT, tmp_path, progress=False)
    settings = task_settings(session.config, HiddenInput.NOTHING)
    task = session.type(session.pretrained, session.pictures, session.data, settings)
    assert (task.group(task.cases[0]) is not None) == task_spec(kind).reads("rows_per_picture")
    (batch,) = task.batches(0, 1)
    task.loss(batch, torch.Generator()).total.backward()
    whole = getattr(task.module, "model", task.module)
    encoders = {name: getattr(whole, name, None) for name in ("language", "vision", "fusion")}
    reached = {
        name
        for name, encoder in encoders.items()
        if encoder is not None and any(one.grad is not None for one in encoder.parameters())
    }
    assert reached == set(task_spec(kind).encoders)
