"""Plan, early stopping, low-rank tuning and reading, each by itself."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.tiny import tiny_pretrained, tiny_task
from tests.refusals import expect_refusal
from tests.reports.written import json_lines
from xfm.config.evaluation import ShortTuning
from xfm.config.finetune import FinetuneConfig, TuningConfig, TuningMode
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.task import TaskConfig
from xfm.config.tasks import task_spec
from xfm.config.training import Precision
from xfm.finetuning.data import Tables, read_data
from xfm.finetuning.early_stopping import ValidationMonitor, ValidationScores
from xfm.finetuning.presets import batch_size, epochs, fitted
from xfm.finetuning.start import fitting_length
from xfm.finetuning.tuning_run import adapt, merge_lora, tune
from xfm.models.task_models import build_task_model
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.rows import LabelledText
from xfm.tasks.text_classification import TextClassificationTask


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


@given(st.integers(1, 10**6))
def test_more_rows_are_seen_less_often_in_larger_batches(rows: int) -> None:
    assert batch_size(rows) <= batch_size(2 * rows)
    assert epochs(rows) >= epochs(2 * rows)


def test_what_is_given_stays() -> None:
    config = FinetuneConfig(steps=7, batch_size=3, lr=0.5, evaluate_every=2)
    assert fitted(config, 1000, 768) == config


def test_rates_stand_once() -> None:
    """Whoever asks for them: what a short fine-tuning or one on own data has reaches the optimiser."""
    rates: dict[str, Any] = {"lr": 1e-3, "muon_lr": 2e-3, "new_lr_multiplier": 7.0}
    rates |= {"weight_decay": 0.2, "layer_decay": 0.5}
    for config in (FinetuneConfig(**rates), ShortTuning(**rates).whole(3, Precision.FP32, "cpu")):
        optim = config.optim(200)
        assert {name: getattr(optim, name) for name in rates} == rates
        assert optim.warmup == 20


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


def watch_of(task: Measured, folder: Path | None, **changes: Any) -> ValidationMonitor[Any, Any, Any]:
    return ValidationMonitor(task, [1], FinetuneConfig(**changes), folder, False)  # type: ignore[arg-type]


def watched(
    values: list[float], folder: Path, patience: int = 2, steps: int = 1
) -> tuple[ValidationMonitor, Measured, int]:
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
        ([0.1, 0.2, 0.3], 3, 3),
    ],
)
def test_the_best_is_kept(tmp_path: Path, values: list[float], stopped: int, best: int) -> None:
    watch, task, step = watched(values, tmp_path)
    assert step == stopped
    assert watch.best is not None
    assert watch.best.step == best
    watch.restore()
    assert task.module.weight.item() == best
    assert [line["accuracy"] for line in json_lines(tmp_path / "validation.jsonl")] == values[:stopped]


def test_no_stop_in_the_first_half_nor_without_patience(tmp_path: Path) -> None:
    values = [0.5, *[0.1] * 8]
    assert watched(values, tmp_path / "a", steps=12)[2] == 6
    assert watched(values, tmp_path / "b", patience=0)[2] == 9


def test_rows_to_look_at_need_a_folder() -> None:
    with pytest.raises(ValueError, match="folder"):
        watch_of(Measured(), None)


def test_looks_are_known_again(tmp_path: Path) -> None:
    watched([0.1, 0.5], tmp_path)
    with (tmp_path / "validation.jsonl").open("a") as file:
        file.write('{"step": 3, "accu')
    task = Measured()
    watch = watch_of(task, tmp_path, steps=1)
    watch.resume()
    assert watch.best == ValidationScores(2, {"accuracy": 0.5})
    watch.restore()
    assert task.module.weight.item() == 2


# ---------------------------------------------------------------- low-rank tuning
def test_low_rank_additions_are_worked_in() -> None:
    """The same answers before and after; nothing of it is left."""
    pytest.importorskip("peft")
    old = tiny_pretrained()
    module = build_task_model(TaskConfig("image-text-classification", 3), old.model)
    names = list(module.state_dict())
    adapt(
        module, TuningConfig(language=TuningMode.LORA, vision=TuningMode.LORA, fusion=TuningMode.LORA, rank=3)
    )
    learns = {name for name, parameter in module.named_parameters() if parameter.requires_grad}
    assert all("lora_" in name or not name.startswith("model.") or ".fusion." not in name for name in learns)
    assert any(name.startswith("head.") for name in learns)
    assert not any("embeddings" in name for name in learns if name.startswith("model.language"))
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if "lora_" in name:
                parameter.normal_(std=0.3)
    pixels, tokens = torch.randn(2, 3, 32, 32), old.tokenizer.encode_batch(["a red square", "yes"], 12).tokens
    module.eval()
    with torch.no_grad():
        before = module(pixels, tokens)
        merge_lora(module)
        torch.testing.assert_close(module(pixels, tokens), before, atol=1e-4, rtol=1e-4)
    assert list(module.state_dict()) == names
    assert all(parameter.requires_grad for parameter in module.parameters())


def test_low_rank_additions_follow_from_the_seed() -> None:
    pytest.importorskip("peft")
    rows = [LabelledText("yes", "a"), LabelledText("no", "b")]
    config = FinetuneConfig(steps=2, batch_size=2, lr=1e-2, tune=TuningConfig(language=TuningMode.LORA))
    runs = []
    for _ in range(2):
        task = tiny_task(TextClassificationTask, rows, ("a", "b"), batch_size=2, precision=Precision.FP32)
        runs.append(tune(task, config))
        torch.rand(3)
    assert runs[0].losses == runs[1].losses
    assert [run.step for run in runs] == [2, 2]
    assert torch.isfinite(torch.tensor(runs[0].losses)).all()


# ---------------------------------------------------------------- length of texts
def test_texts_fit() -> None:
    old = tiny_pretrained()
    assert old.model.config.language.longest == 128
    rows = [LabelledText("yes", "a", "no"), LabelledText("a red square left of a blue square", "b", "it is")]
    length = fitting_length(TextClassificationTask, rows, old.tokenizer, 128)
    cut, whole = (
        tiny_task(TextClassificationTask, rows, ("a", "b"), max_tokens=most).collate(rows).tokens
        for most in (length, 128)
    )
    assert length % 8 == 0
    assert torch.equal(cut.mask.sum(1), whole.mask.sum(1))
    assert fitting_length(TextClassificationTask, rows, old.tokenizer, 6) == 6


# ---------------------------------------------------------------- reading
@pytest.mark.parametrize(
    ("layout", "scale", "text"),
    [
        (BoxFormat.XYWH, BoxUnit.PIXEL, "6 17 20 20"),
        (BoxFormat.XYXY, BoxUnit.PIXEL, "6 17 26 37"),
        (BoxFormat.CXCYWH, BoxUnit.PIXEL, "16 27 20 20"),
        (BoxFormat.XYWH, BoxUnit.FRACTION, "0.09375 0.265625 0.3125 0.3125"),
        (BoxFormat.XYXY, BoxUnit.FRACTION, '"[0.09375, 0.265625, 0.40625, 0.578125]"'),
    ],
)
def test_a_box_however_it_is_written(samples: Path, layout: BoxFormat, scale: BoxUnit, text: str) -> None:
    table, config = samples / "b.csv", FinetuneConfig(box_format=layout, box_unit=scale)
    table.write_text(f"image,phrase,box\npictures/1.png,it,{text}\n")
    data, _ = read_data(GroundingTask, Tables(table, table, table), config, samples / "out")
    assert data.train[0].boxes[0] == pytest.approx((6 / 64, 17 / 64, 26 / 64, 37 / 64))


@pytest.mark.parametrize("kind", ["claims.csv", "captions.csv"])
def test_no_picture_is_in_two_splits(samples: Path, kind: str) -> None:
    task = task_spec("image-text-classification" if kind == "claims.csv" else "retrieval").task_class()
    head, *rows = (samples / kind).read_text().splitlines()
    twice = [row for number, row in enumerate(rows) for _ in range(1 + number % 3)]
    (samples / "t.csv").write_text("\n".join([head, *twice]) + "\n")
    data, _ = read_data(task, Tables(samples / "t.csv"), FinetuneConfig(), samples / "out")
    parts = [{row.image for row in part} for part in (data.train, data.valid, data.test)]
    assert not any(one & other for one in parts for other in parts if one is not other)
    assert sum(map(len, parts)) == 10
    numbers = json.loads((samples / "out" / "split.json").read_text())["rows"]
    assert sorted(number for part in numbers.values() for number in part) == list(range(2, 2 + len(twice)))


def test_given_splits_stay(samples: Path) -> None:
    table = samples / "reviews.csv"
    config = FinetuneConfig()
    data, _ = read_data(TextClassificationTask, Tables(table, valid=table), config, samples / "out")
    assert (len(data.train), len(data.valid), len(data.test)) == (10, 10, 0)
    assert not (samples / "out").exists()
    data, _ = read_data(TextClassificationTask, Tables(table, test=table), config, samples / "out")
    assert (len(data.train), len(data.valid), len(data.test)) == (8, 2, 10)
    assert data.labels == ("bad", "good")


@pytest.mark.parametrize(("choose_by", "chosen"), [("", 2), ("mcc", 1)])
def test_another_metric_may_choose_the_model(choose_by: str, chosen: int, tmp_path: Path) -> None:
    task = Measured(accuracy=0.5, mcc=0.9)
    watch = watch_of(task, tmp_path, choose_by=choose_by, steps=4)
    watch.look(1)
    task.found = {"accuracy": 0.8, "mcc": 0.1}
    watch.look(2)
    assert watch.best is not None
    assert watch.best.step == chosen


def test_a_metric_that_there_is_not_is_named(tmp_path: Path) -> None:
    watch = watch_of(Measured(accuracy=0.5), tmp_path, choose_by="f2")
    with expect_refusal("choose_by", "text-classification", "f2", "accuracy"):
        watch.check()
