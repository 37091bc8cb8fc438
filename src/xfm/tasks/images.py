"""Pictures of a task: decoded and resized once, encoded once per batch; varied once a batch in training; and
batches that are read ahead of the step, in worker processes or in this one, with the same outcome."""

import os
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from math import prod
from pathlib import Path
from typing import Generic, TypeVar

import torch
from torch import Tensor
from tqdm import tqdm

from xfm.data.collate import round_up
from xfm.data.images import UnreadableImage, load_with_digest
from xfm.data.schema import TensorFields
from xfm.data.skipped import SkippedRecords
from xfm.data.streams import RecordTally
from xfm.data.transforms import Box, View
from xfm.data.workers import load_steps
from xfm.models.artifacts import framed, model_pixels
from xfm.models.folder import Preprocessing

COUNT_STEP = 4  # pictures of a batch: few numbers of them, because kernels are built per shape
MANY = 100  # pictures from which looking through them has a bar
DEFAULT_LIMIT = 1 << 30  # bytes of decoded pictures that are kept


class TaskImages:
    """Pictures by path in the model's square, kept as uint8 within `limit` bytes.

    `kept` are those by path, `marks` digests of files at their first reading. With `lost`, pictures that fail
    later become blank (`blank_for`), so that a training of hours goes on; without, they raise.
    """

    def __init__(self, preprocessing: Preprocessing, limit: int = DEFAULT_LIMIT) -> None:
        self.preprocessing = preprocessing
        self._capacity = limit // (3 * prod(preprocessing.shape))
        self.kept: dict[Path, Tensor] = {}
        self.marks: dict[Path, str] = {}
        self.blank_for: dict[Path, str] = {}
        self.lost: SkippedRecords | None = None

    @property
    def room(self) -> int:
        """How many more pictures can be kept."""
        return max(0, self._capacity - len(self.kept))

    def uint8(self, path: Path, whole: bool = False) -> Tensor:
        """[3, S, S] uint8, or as in its file [3, H, W] if `whole`, which is read anew; UnreadableImage if
        missing or damaged and none may be lost."""
        try:
            return self._decoded(path) if whole else self._read(path)
        except UnreadableImage as error:
            if self.lost is None and path not in self.blank_for:
                raise
            return self.lose(path, str(error))

    def _read(self, path: Path) -> Tensor:
        kept = self.kept.get(path)
        if kept is None:
            kept = framed(self._decoded(path), self.preprocessing)
            if len(self.kept) < self._capacity:
                self.kept[path] = kept
        return kept

    def _decoded(self, path: Path) -> Tensor:
        if path in self.blank_for:
            raise UnreadableImage(f"{path}: the picture could not be read before")
        pixels, mark = load_with_digest(path)
        self.marks.setdefault(path, mark)
        return pixels

    def lose(self, path: Path, reason: str) -> Tensor:
        """Note a picture that cannot be read any more; a blank [3, S, S] uint8. UserError: it is one too
        many."""
        if path not in self.blank_for:
            assert self.lost is not None
            self.blank_for[path] = reason
            self.lost.add(str(path), f"{reason} (blank since then)")
        mean = torch.tensor(self.preprocessing.mean).mul(255).round().to(torch.uint8)  # [3]
        return mean[:, None, None].expand(3, *self.preprocessing.shape)

    def unreadable(self, paths: Sequence[Path], progress: bool = False) -> dict[Path, str]:
        """Reasons of unreadable pictures; each is decoded once, and kept while there is room."""

        def problem(number: int) -> str | None:
            path = paths[number]
            try:
                self._read(path) if number < self._capacity else self._decoded(path)
            except UnreadableImage as error:
                return str(error)
            return None

        few = len(paths) < MANY
        bar = tqdm(range(len(paths)), desc="pictures", unit="picture", disable=few or not progress)
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
            found = pool.map(problem, bar)
            return {path: reason for path, reason in zip(paths, found, strict=True) if reason is not None}

    def follow(self, marks: Mapping[Path, str]) -> None:
        """Take the digests of another process that looked the pictures through, and keep as many as fit."""
        self.marks = dict(marks)
        self.unreadable(list(self.marks)[: self._capacity])

    def pixels(self, paths: Sequence[Path]) -> Tensor:
        """[N, 3, S, S] float32, normalised, of N paths."""
        return model_pixels(torch.stack([self.uint8(path) for path in paths]), self.preprocessing)

    def batches(self, paths: Sequence[Path], size: int) -> Iterator[Tensor]:
        """Batches [B, 3, S, S] of the paths, in order."""
        for start in range(0, len(paths), size):
            yield self.pixels(paths[start : start + size])

    def distinct(self, paths: Sequence[Path], hidden: bool = False) -> tuple[Tensor, Tensor]:
        """Pixels [I, 3, S, S] of distinct pictures, filled up with blank ones to a multiple of `COUNT_STEP`,
        and indices [N] int64."""
        if hidden:
            return self.blank(len(paths))
        places = {path: place for place, path in enumerate(dict.fromkeys(paths))}
        pixels = self.pixels(list(places))
        filled = pixels.new_zeros(round_up(len(pixels), COUNT_STEP), *pixels.shape[1:])
        filled[: len(pixels)] = pixels
        return filled, torch.tensor([places[path] for path in paths], dtype=torch.int64)

    def blank(self, rows: int) -> tuple[Tensor, Tensor]:
        """One picture of the mean colour [1, 3, S, S] (zeros when normalised) for all rows, and [N] int64
        zeros."""
        return torch.zeros(1, 3, *self.preprocessing.shape), torch.zeros(rows, dtype=torch.int64)


@dataclass(frozen=True)
class ImageView:
    """Pixels [3, S, S] uint8, and which part of the picture of `size` (width, height) they show."""

    pixels: Tensor
    view: View
    size: tuple[int, int]

    def moved(self, box: Box) -> Box:
        """A box (left, top, right, bottom as fractions of the picture's sides) in fractions of the view's."""
        (width, height), view = self.size, self.view
        left, right = ((x * width - view.left) / view.width for x in (box[0], box[2]))
        top, bottom = ((y * height - view.top) / view.height for y in (box[1], box[3]))
        if view.flip:
            left, right = 1 - right, 1 - left
        return max(left, 0.0), max(top, 0.0), min(right, 1.0), min(bottom, 1.0)


# ---------------------------------------------------------------- batches that are read ahead
# A worker is forked from the process that trains. It sees the pictures that this one keeps, keeps none, and
# reads all others again each time. What it finds wrong with a picture travels back with the batch.
B = TypeVar("B", bound=TensorFields | Tensor)
T = TypeVar("T")


@dataclass(frozen=True)
class Portion(TensorFields, Generic[B]):
    """A process's part of the batch of a step: rows, and the `count` (rows, tokens) of which losses are
    means."""

    batch: B
    rows: int
    count: float


@dataclass(frozen=True)
class _Read(TensorFields):
    batch: TensorFields | Tensor
    blank: Mapping[Path, str]


def _read_in_worker(
    build: Callable[[T], TensorFields | Tensor], items: Sequence[T], pictures: TaskImages, place: int
) -> _Read:
    pictures._capacity = len(pictures.kept)  # workers would all keep the same: others are read each time
    return _Read(build(items[place]), pictures.blank_for)


def read_ahead(
    build: Callable[[T], B], items: Sequence[T], pictures: TaskImages, workers: int, pin: bool = False
) -> Generator[B, None, None]:
    """Results of `build(item)` in order, by worker processes (0: this one); closing the generator ends them.
    `build` is pure and on the CPU."""
    if not workers:
        yield from map(build, items)
        return
    read = partial(_read_in_worker, build, items, pictures)
    with closing(load_steps(read, range(len(items)), workers, 0, pin)) as loaded:
        for found in loaded:
            assert not isinstance(found, RecordTally), "builds of a task have failures of their own"
            for path, reason in found.blank.items():
                pictures.lose(path, reason)
            yield found.batch  # pyright: ignore[reportReturnType]
