"""Order of rows, rows of files, and reading ahead: the same batches for any number of workers."""

from collections import Counter
from dataclasses import replace
from functools import cache
from itertools import pairwise
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import psutil
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.alike import some
from tests.evaluation.tiny import tiny_pretrained
from tests.finetuning.conftest import FILES, SAMPLES, SHORT
from tests.refusals import expect_refusal
from tests.tasks.build import build
from xfm.config.image import ImageTrainingConfig
from xfm.config.tasks import task_spec
from xfm.data.schema import TensorFields
from xfm.data.tables import ColumnMap
from xfm.finetuning.data import Tables, read_data
from xfm.finetuning.presets import task_settings
from xfm.models.folder import Pretrained
from xfm.tasks.base import Task
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import SplitRows
from xfm.tasks.sampling import RowOrder, sampled_rows
from xfm.training.failures import explaining_failures


@given(
    st.lists(st.one_of(st.none(), st.integers(0, 4)), min_size=1, max_size=20),
    st.integers(0, 50),
    st.integers(1, 4),
)
@settings(max_examples=40)
def test_every_epoch_is_a_permutation_that_keeps_groups_together(groups, position, per_group):
    count = len(groups)
    order = RowOrder(groups, 3, per_group).at(0, 3 * count)
    for epoch in range(3):
        assert sorted(order[epoch * count : (epoch + 1) * count]) == list(range(count))
    whole = RowOrder(groups, 3, per_group).at(0, position + 10)
    assert RowOrder(groups, 3, per_group).at(position, 10) == whole[position:]
    sizes = Counter(group for group in groups if group is not None)
    for group, size in sizes.items():
        places = [p for p, row in enumerate(order[:count]) if groups[row] == group]
        breaks = sum(later != earlier + 1 for earlier, later in pairwise(places))
        assert breaks <= -(-size // per_group) - 1


@given(st.integers(1, 9), st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(0, 9))
def test_the_parts_of_a_batch_are_the_batch(rows, accumulation, world, more, step):
    """Whatever the processes and the parts of each: in the order of the ranks, none empty."""
    size, order = accumulation * world + more, RowOrder([None] * rows, 1, 1)
    parts = [
        sampled_rows(range(rows), order, size, 1, step * accumulation + micro, accumulation, rank, world)
        for rank in range(world)
        for micro in range(accumulation)
    ]
    (whole,) = {tuple(one.batch) for one in parts}
    assert [row for one in parts for row in one.rows] == list(whole) == order.at(step * size, size)
    assert {len(one.rows) for one in parts} <= {size // len(parts), -(-size // len(parts))}
    seeds = [one.seed_of(place) for one in parts for place in range(len(one.rows))]
    alone = sampled_rows(range(rows), order, size, 1, step)
    assert seeds == [alone.seed_of(place) for place in range(size)]
    assert len(set(seeds)) == size


def test_batches_continue_anywhere(pretrained: Pretrained, tiny_world: Path) -> None:
    rows = GroundingTask.read(tiny_world / "tasks/grounding/train.jsonl")
    task = build(GroundingTask, pretrained, rows, batch_size=5)
    whole, later = ([one.batch for one in task.portions(start, 9)] for start in (0, 6))
    for ours, theirs in zip(whole[6:], later, strict=True):
        assert torch.equal(ours.boxes, theirs.boxes)
        assert torch.equal(ours.pixels[ours.image_index], theirs.pixels[theirs.image_index])


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


def read_ahead(kind: str, workers: int, limit: int = KEEPS, folder: Path = SAMPLES) -> Task[Any, Any, Any]:
    """A task on the ten rows of its sample."""
    pretrained, data = tiny_pretrained(), rows(kind, folder)
    config = replace(SHORT, image=VARIED.get(kind, SHORT.image), workers=workers, max_tokens=40)
    pictures = TaskImages(pretrained.preprocessing, limit)
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


@pytest.mark.parametrize("kind", some(FILES, 3))
def test_batches_and_predictions_are_those_of_any_number_of_workers(kind: str) -> None:
    """Pictures that stay in memory, or are read again by each worker; a whole step, or two parts of it."""
    alone, ahead = read_ahead(kind, 0), read_ahead(kind, 2, NONE)
    parts = [list(task.portions(3, 7, accumulation=2)) for task in (alone, ahead)]
    assert [one.rows for one in parts[0]] == [2, 2, 2, 2]
    for ours, theirs in zip(*parts, strict=True):
        assert (ours.rows, ours.count) == (theirs.rows, theirs.count)
        for one, other in zip(tensors(ours), tensors(theirs), strict=True):
            assert torch.equal(one, other)
            assert not other.is_inference()
    test = alone.train_rows
    assert alone.predict(test, 4) == ahead.predict(test, 4)
    assert len(ahead.pictures.kept) == 0
    assert workers_of_this_process() == []


def test_a_worker_that_is_killed_is_one_sentence() -> None:
    """torch raises its own error wherever this process is: what surrounds a run explains it."""
    stream = read_ahead("vqa", 1).portions(0, 1000)
    next(stream)
    (worker,) = workers_of_this_process()
    worker.kill()
    with expect_refusal("loader process died", "--workers"), explaining_failures(lambda: "none is saved"):
        list(stream)
    assert workers_of_this_process() == []
