"""Reading ahead: the same batches for any number of workers, and what goes wrong in one."""

import shutil
from dataclasses import replace
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from tests.evaluation.tiny import tiny_pretrained
from tests.finetuning.conftest import FILES, SAMPLES, SHORT
from tests.refusals import expect_refusal
from xfm.config.image import ImageTrainingConfig
from xfm.config.tasks import task_spec
from xfm.data.images import UnreadablePicture
from xfm.data.schema import TensorFields
from xfm.data.skipped import SkippedRecords
from xfm.data.tables import ColumnMap
from xfm.finetuning.data import Tables, read_data
from xfm.finetuning.presets import task_settings
from xfm.tasks.base import Task
from xfm.tasks.images import Pictures
from xfm.tasks.rows import SplitRows
from xfm.training.failures import explaining_failures

VARIED = {
    "grounding": ImageTrainingConfig(flip=0.5),
    "image-classification": ImageTrainingConfig(crop=0.3, flip=0.5, rand_augment=2, erasing=0.5),
}
KEEPS, NONE = 1 << 30, 0
"""Bytes of pictures in memory."""


@cache
def rows(kind: str, folder: Path = SAMPLES) -> SplitRows[Any]:
    file, columns = FILES[kind]
    table = folder / file
    tables = Tables(table, table, table, ColumnMap.parse(columns))
    return read_data(task_spec(kind).task_class(), tables, SHORT, Path(mkdtemp()) / "out")[0]


def build(kind: str, workers: int, limit: int = KEEPS, folder: Path = SAMPLES) -> Task[Any, Any, Any]:
    """A task on the ten rows of its sample."""
    pretrained, data = tiny_pretrained(), rows(kind, folder)
    config = replace(SHORT, image=VARIED.get(kind, SHORT.image), workers=workers, max_tokens=40)
    pictures = Pictures(pretrained.preprocessing, limit)
    return task_spec(kind).task_class()(pretrained, pictures, data, task_settings(config))


def tensors(batch: TensorFields) -> list[Tensor]:
    found: list[Tensor] = []

    def keep(tensor: Tensor) -> Tensor:
        found.append(tensor)
        return tensor

    batch.map(keep)
    return found


def workers_of_this_process() -> list[psutil.Process]:
    """A forked one has this process's command line, under whatever runs the tests."""
    own = psutil.Process()
    return [one for one in own.children(recursive=True) if one.cmdline() == own.cmdline()]


@pytest.mark.parametrize("kind", FILES)
def test_batches_and_predictions_are_those_of_any_number_of_workers(kind: str) -> None:
    """Pictures that stay in memory, or are read again by each worker; a whole step, or two parts of it."""
    alone, ahead = build(kind, 0), build(kind, 2, NONE)
    parts = [list(task.portions(3, 7, accumulation=2)) for task in (alone, ahead)]
    assert [one.rows for one in parts[0]] == [2, 2, 2, 2]
    for ours, theirs in zip(*parts, strict=True):
        assert (ours.rows, ours.count) == (theirs.rows, theirs.count)
        for one, other in zip(tensors(ours), tensors(theirs), strict=True):
            assert torch.equal(one, other)
            assert not other.is_inference()
    test = alone.train_rows
    assert alone.predict(test, 4) == ahead.predict(test, 4)
    assert len(ahead.pictures) == 0
    assert workers_of_this_process() == []


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SAMPLES, tmp_path / "samples"))


@pytest.mark.parametrize("kind", ["image-classification", "vqa"])
def test_a_picture_that_a_worker_misses_is_blank_and_counted_here(kind: str, samples: Path) -> None:
    alone, ahead = (build(kind, workers, NONE, samples) for workers in (0, 1))
    gone = alone.pictures_of(alone.train_rows[0])[0]
    gone.unlink()
    with pytest.raises(UnreadablePicture, match=gone.name):
        list(ahead.portions(0, 5))
    for task in (alone, ahead):
        task.pictures.lost = SkippedRecords()
    for ours, theirs in zip(alone.portions(0, 5), ahead.portions(0, 5), strict=True):
        for one, other in zip(tensors(ours), tensors(theirs), strict=True):
            assert torch.equal(one, other)
    (ours,), (theirs,) = (dict(task.pictures.lost.rows) for task in (alone, ahead) if task.pictures.lost)
    assert ours == theirs == str(gone)
    for task in (alone, ahead):
        task.pictures.lost, task.pictures.blank_for = SkippedRecords(0), {}
        with expect_refusal(gone.name, "--max-bad"):
            list(task.portions(0, 5))


def test_a_worker_that_is_killed_is_one_sentence() -> None:
    """torch raises its own error wherever this process is: what surrounds a run explains it."""
    stream = build("vqa", 1).portions(0, 1000)
    next(stream)
    (worker,) = workers_of_this_process()
    worker.kill()
    with expect_refusal("loader process died", "--workers"), explaining_failures(lambda: "none is saved"):
        list(stream)
    assert workers_of_this_process() == []
