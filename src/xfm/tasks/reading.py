"""Batches of a task read ahead of the step: in worker processes, or in this one, with the same outcome.

A worker is forked from the process that trains. It sees the pictures that this one keeps, keeps none itself,
and reads all others again each time. What it finds wrong with a picture travels back with the batch.
"""

import contextlib
import copy
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from torch import Tensor

from xfm.core.errors import UserError
from xfm.data.schema import TensorFields
from xfm.data.workers import Failure, load_steps
from xfm.tasks.pictures import Pictures
from xfm.tasks.sampling import Drawn, TrainingRows

B = TypeVar("B", bound=TensorFields)


@dataclass(frozen=True)
class Portion(TensorFields, Generic[B]):
    """What a process takes of the batch of a step.

    Attributes:
        batch: as the task's loss takes it.
        rows: how many rows it has.
        count: of how many things (rows, tokens) the losses are means, see `Task.count`.
    """

    batch: B
    rows: int
    count: float


@dataclass(frozen=True)
class PixelBatch(TensorFields):
    """Pictures alone: [B, 3, S, S] float32, normalised."""

    pixels: Tensor


@dataclass(frozen=True)
class _Read(TensorFields):
    """What a worker sends."""

    batch: TensorFields | None
    blank: Mapping[Path, str]
    problem: UserError | None = None


@dataclass(frozen=True)
class _InWorker:
    """Builds in a worker process."""

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
    """What `build` gives for some steps, in order; closing the generator ends the workers.

    Args:
        build: a pure function of the step and of the pictures; must need nothing but the CPU.
        steps: which.
        pictures: that it reads.
        workers: processes that build; 0 builds in this one, when asked for.
        pin: put tensors into page-locked memory.

    Raises:
        UserError: what `build` raises; a worker died.
    """
    if not workers:
        yield from map(build, steps)
        return
    with contextlib.closing(load_steps(_InWorker(build, pictures), steps, workers, 0, pin)) as loaded:
        for read in loaded:
            assert not isinstance(read, Failure), "builds of a task have failures of their own"
            for path, reason in read.blank.items():
                pictures.lose(path, reason)
            if read.problem is not None:
                raise read.problem
            yield read.batch  # pyright: ignore[reportReturnType]


# ---------------------------------------------------------------- what is built
class MakesBatches(Protocol[B]):
    """A task, as far as batches are made of rows: see `xfm.tasks.base.Task`."""

    def collate(self, rows: Sequence[Any]) -> B:
        """One batch of the rows."""
        ...

    def training_batch(self, drawn: Drawn[Any]) -> B:
        """The batch of drawn rows."""
        ...

    def count(self, batch: B, rows: Sequence[Any]) -> float:
        """Of how many things its losses are means."""
        ...


class TrainingPortions(Generic[B]):
    """Micro-batch -> this process's portion, of a task."""

    def __init__(self, task: MakesBatches[B], rows: TrainingRows[Any]) -> None:
        self._task, self._rows = reader(task), rows

    def __call__(self, index: int) -> Portion[B]:
        """Portion `index`, see `TrainingRows`."""
        drawn = self._rows(index)
        batch = self._task.training_batch(drawn)
        return Portion(batch, len(drawn.rows), self._task.count(batch, drawn.rows))


class Collated(Generic[B]):
    """Number -> the batch of that number, of rows in their order."""

    def __init__(self, task: MakesBatches[B], rows: Sequence[Any], size: int) -> None:
        self._task, self._rows, self._size = reader(task), rows, size

    def __call__(self, number: int) -> B:
        """Batch `number`."""
        return self._task.collate(self._rows[number * self._size : (number + 1) * self._size])


class PictureBatches:
    """Number -> the batch of that number, of pictures in their order."""

    def __init__(self, pictures: Pictures, paths: Sequence[Path], size: int) -> None:
        self._pictures, self._paths, self._size = pictures, paths, size

    def __call__(self, number: int) -> PixelBatch:
        """Batch `number`."""
        return PixelBatch(self._pictures.pixels(self._paths[number * self._size : (number + 1) * self._size]))


def reader(task: MakesBatches[B]) -> MakesBatches[B]:
    """The task without its model, which readers do not need: where processes are not forked, it is sent."""
    copied = copy.copy(task)
    vars(copied).pop("module", None)
    return copied
