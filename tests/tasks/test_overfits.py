"""Every task learns a handful of rows by heart."""

from pathlib import Path
from typing import Any

import pytest

from tests.tasks.build import PAIRS, SINGLE, build
from xfm.config.finetune import FinetuneConfig
from xfm.config.tasks import task_spec
from xfm.finetuning.tuning_run import tune
from xfm.models.folder import Pretrained
from xfm.tasks.base import Task
from xfm.tasks.rows import LabelledText
from xfm.tasks.text_classification import TextClassificationTask


def learned(task: Task[Any, Any, Any], rows: list[Any], steps: int) -> tuple[float, dict[str, float]]:
    """The share of the loss that is left, and the metrics."""
    tuning = tune(task, FinetuneConfig(steps=steps, batch_size=task.settings.batch_size, lr=3e-3))
    return tuning.losses[-1] / tuning.losses[0], task.metrics(rows, task.predict(rows))


@pytest.mark.parametrize(
    ("kind", "steps", "loss", "perfect"),
    [
        pytest.param("vqa", 120, 0.1, {"accuracy", "accuracy_which_left", "accuracy_which_right"}, id="vqa"),
        pytest.param("grounding", 150, 0.3, {"acc50"}, id="grounding"),
        pytest.param("reasoning", 250, 0.2, {"accuracy"}, id="reasoning"),
        pytest.param("captioning", 250, 0.3, {"word_f1", "exact"}, id="captioning"),
    ],
)
def test_rows_of_the_world(
    pretrained: Pretrained, tiny_world: Path, kind: str, steps: int, loss: float, perfect: set[str]
) -> None:
    task = task_spec(kind).task_class()
    file = "retrieval/validation" if kind == "captioning" else f"{kind}/train"
    rows = task.read(tiny_world / f"tasks/{file}.jsonl")[:8]
    settings = {"prompt": "a picture of"} if kind == "captioning" else {}  # it is no part of what is written
    left, metrics = learned(build(task, pretrained, rows, max_tokens=24, **settings), rows, steps)
    assert left < loss
    assert {name: metrics[name] for name in perfect} == dict.fromkeys(perfect, 1.0)


@pytest.mark.parametrize("rows", [SINGLE, PAIRS], ids=["one text", "two texts"])
def test_texts(pretrained: Pretrained, rows: list[LabelledText]) -> None:
    labels = tuple(sorted({str(row.label) for row in rows}))
    _, metrics = learned(build(TextClassificationTask, pretrained, rows, labels), rows, 250)
    assert metrics["accuracy"] == metrics["f1_macro"] == 1.0
    assert ("auroc" in metrics) == (len(labels) == 2)
