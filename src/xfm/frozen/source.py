"""Lists of labelled pictures, wherever they lie."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from xfm.config.linear import FeatureConfig
from xfm.data.left_out import UnreadablePicture
from xfm.data.picture_files import load_image
from xfm.modeling.folder import Preprocessing
from xfm.modeling.pixels import framed, model_pixels
from xfm.tasks.rows import Labelled

Bad = Callable[[int, str], None]
"""Told the index of a picture that cannot be read, and why."""


class PictureSource(Protocol):
    """Pictures by index."""

    def __len__(self) -> int:
        """Number of pictures N."""
        ...

    def picture(self, index: int) -> Tensor:
        """The picture at an index, [3, H, W] uint8.

        Raises:
            UnreadablePicture: it cannot be read.
        """
        ...

    def identity(self) -> str:
        """A digest that changes when the list or a picture of it does."""
        ...


class FilePictures:
    """The pictures of rows, from their files.

    Args:
        rows: one picture each.
    """

    def __init__(self, rows: Sequence[Labelled]) -> None:
        self.rows = rows

    def __len__(self) -> int:
        return len(self.rows)

    def picture(self, index: int) -> Tensor:
        """[3, H, W] uint8."""
        row = self.rows[index]
        try:
            return load_image(row.image)
        except UnreadablePicture as error:
            raise UnreadablePicture(f"{row.place}: {error}" if row.place else str(error)) from error

    def identity(self) -> str:
        """Of names, sizes and times of change of the files; their bytes are not read."""
        digest = hashlib.sha256()
        for row in self.rows:
            try:
                status = row.image.stat()
                says = f"{row.image.name}\0{status.st_size}\0{status.st_mtime_ns}\n"
            except (OSError, ValueError):  # whoever reads it is told
                says = f"{row.image.name}\0is not there\n"
            digest.update(says.encode(errors="surrogateescape"))
        return digest.hexdigest()


class _Framed(Dataset[tuple[Tensor, str]]):
    def __init__(
        self, source: PictureSource, frame: Callable[[Tensor], Tensor], start: int, shape: tuple[int, int]
    ) -> None:
        self.source, self.frame, self.start, self.shape = source, frame, start, shape

    def __len__(self) -> int:
        return len(self.source) - self.start

    def __getitem__(self, index: int) -> tuple[Tensor, str]:
        try:
            return self.frame(self.source.picture(self.start + index)), ""
        except UnreadablePicture as error:
            return torch.zeros(3, *self.shape, dtype=torch.uint8), str(error)


def _stack(items: Sequence[tuple[Tensor, str]]) -> tuple[Tensor, list[str]]:
    pictures, reasons = zip(*items, strict=True)
    return torch.stack(pictures), list(reasons)


def pixel_batches(
    source: PictureSource,
    preprocessing: Preprocessing,
    config: FeatureConfig,
    start: int = 0,
    bad: Bad | None = None,
) -> Iterator[Tensor]:
    """Batches [B, 3, S, S] float32 of the pictures from `start`, in their order.

    Args:
        source: the pictures.
        preprocessing: how they become pixels.
        config: batch size and workers.
        start: the first picture.
        bad: told of a picture that cannot be read, which is NaN then; None raises.

    Raises:
        UnreadablePicture: a picture cannot be read.
    """
    loader: DataLoader[Any] = DataLoader(
        _Framed(source, partial(framed, preprocessing=preprocessing), start, preprocessing.shape),
        config.batch_size,
        num_workers=config.workers,
        collate_fn=_stack,
        pin_memory=torch.cuda.is_available(),
    )
    for number, (batch, reasons) in enumerate(loader):
        pixels = model_pixels(batch, preprocessing)
        for place, reason in enumerate(reasons):
            if reason and bad is None:
                raise UnreadablePicture(reason)
            if reason and bad is not None:
                bad(start + number * config.batch_size + place, reason)
                pixels[place] = torch.nan
        yield pixels
