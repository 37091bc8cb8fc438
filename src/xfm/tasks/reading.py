"""Batches of a task read ahead of the step: in worker processes, or in this one, with the same outcome.

A worker is forked from the process that trains. It sees the pictures that this one keeps, keeps none itself,
and reads all others again each time. What it finds wrong with a picture travels back with the batch.
"""

import contextlib
import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from torch import Tensor

from xfm.core.errors import UserError
from xfm.data.schema import TensorFields
from xfm.data.workers import Failure, load_steps
from xfm.tasks.images import Pictures
from xfm.tasks.sampling import TrainingRows

B = TypeVar("B", bound=TensorFields)
T = TypeVar("T")


@dataclass(frozen=True)
class Portion(TensorFields, Generic[B]):
    """A process's part of the batch of a step: rows, and the `count` (rows, tokens) of which losses are
    means."""

    batch: B
    rows: int
    count: float


@dataclass(frozen=True)
class PixelBatch(TensorFields):
    """Pictures alone: [B, 3, S, S] float32, normalised."""

    pixels: Tensor


@dataclass(frozen=True)
class _Read(TensorFields):
    batch: TensorFields | None
    blank: Mapping[Path, str]
    problem: UserError | None = None


@dataclass(frozen=True)
class _WorkerBuild:
    build: Callable[[int], TensorFields]
    pictures: Pictures

    def __call__(self, step: int) -> _Read:
        self.pictures.keep_no_more()
        try:
            return _Read(self.build(step), self.pictures.blank_for)
        except UserError as error:
            return _Read(None, self.pictures.blank_for, error)


def read_ahead(
    build: Callable[[int], B], steps: range, pictures: Pictures, workers: int, pin: bool = False
) -> Generator[B, None, None]:
    """Results of `build(step)` in order, by worker processes (0: this one); closing the generator ends them.
    `build` is pure and on the CPU."""
    if not workers:
        yield from map(build, steps)
        return
    with contextlib.closing(load_steps(_WorkerBuild(build, pictures), steps, workers, 0, pin)) as loaded:
        for read in loaded:
            assert not isinstance(read, Failure), "builds of a task have failures of their own"
            for path, reason in read.blank.items():
                pictures.lose(path, reason)
            if read.problem is not None:
                raise read.problem
            yield read.batch  # pyright: ignore[reportReturnType]


# ---------------------------------------------------------------- what is built
def portion(task: Any, rows: TrainingRows[Any], index: int) -> Portion[Any]:
    """This process's portion of a micro-batch of a task, see `TrainingRows`."""
    drawn = rows(index)
    batch = task.training_batch(drawn)
    return Portion(batch, len(drawn.rows), task.count(batch, drawn.rows))


def collated(task: Any, rows: Sequence[Any], size: int, number: int) -> Any:
    """The batch of a number, of rows in their order."""
    return task.collate(rows[number * size : (number + 1) * size])


def picture_batch(pictures: Pictures, paths: Sequence[Path], size: int, number: int) -> PixelBatch:
    """The batch of a number, of pictures in their order."""
    return PixelBatch(pictures.pixels(paths[number * size : (number + 1) * size]))


def reader(task: T) -> T:
    """The task without its model, which readers do not need: where processes are not forked, it is sent."""
    copied = copy.copy(task)
    vars(copied).pop("module", None)
    return copied
