"""Batches of a task read ahead of the step: in worker processes, or in this one, with the same outcome.

A worker is forked from the process that trains. It sees the pictures that this one keeps, keeps none itself,
and reads all others again each time. What it finds wrong with a picture travels back with the batch.
"""

import contextlib
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from torch import Tensor

from xfm.core.errors import UserError
from xfm.data.schema import TensorFields
from xfm.data.workers import Failure, load_steps
from xfm.tasks.images import Pictures

B = TypeVar("B", bound=TensorFields)


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


def picture_batch(pictures: Pictures, paths: Sequence[Path], size: int, number: int) -> PixelBatch:
    """The batch of a number, of pictures in their order."""
    return PixelBatch(pictures.pixels(paths[number * size : (number + 1) * size]))
