"""Pictures of a task: decoded and resized once, encoded once per batch whatever number of rows share them."""

import logging
from collections.abc import Iterator, Sequence
from math import prod
from pathlib import Path

import torch
from torch import Tensor

from xfm.data.tasks import load_decoded
from xfm.data.transforms import Normalisation, View, show
from xfm.data.transforms import normalise as normalise_pixels
from xfm.errors import printable
from xfm.modeling.folder import Preprocessing
from xfm.tasks.shapes import round_up

COUNT_STEP = 4  # pictures of a batch: few numbers of them, because kernels are built per shape
DEFAULT_LIMIT = 1 << 30  # bytes of decoded pictures that are kept
NAMED = 5  # of the pictures that are used in part, this many are named as they come; all are in `flaws`
_log = logging.getLogger(__name__)


class Pictures:
    """Pictures by path as the model takes them.

    A picture is decoded and resized when it is first asked for, and kept as uint8 while all of them fit into
    `limit` bytes; after that it is read again each time.

    Args:
        preprocessing: size, mean, deviation and interpolation of the model.
        limit: bytes of pictures to keep.

    Attributes:
        flaws: what is wrong with the pictures of which a part only could be decoded so far.
    """

    def __init__(self, preprocessing: Preprocessing, limit: int = DEFAULT_LIMIT) -> None:
        self.preprocessing = preprocessing
        self._capacity = limit // (3 * prod(preprocessing.shape))
        self._kept: dict[Path, Tensor] = {}
        self.flaws: dict[Path, str] = {}

    def __len__(self) -> int:
        return len(self._kept)

    @property
    def capacity(self) -> int:
        """How many pictures are kept."""
        return self._capacity

    def uint8(self, path: Path) -> Tensor:
        """The picture squashed to the model's square, [3, S, S] uint8.

        Raises:
            UserError: the file is missing or does not decode.
        """
        kept = self._kept.get(path)
        if kept is None:
            found = load_decoded(path)
            if found.flaw is not None:
                self._note(path, found.flaw)
            kept = squash(found.pixels, self.preprocessing)
            if len(self._kept) < self._capacity:
                self._kept[path] = kept
        return kept

    def _note(self, path: Path, flaw: str) -> None:
        if path not in self.flaws and len(self.flaws) < NAMED:
            _log.warning("used %s in part: %s", printable(str(path)), flaw)
        self.flaws[path] = flaw

    def pixels(self, paths: Sequence[Path]) -> Tensor:
        """[N, 3, S, S] float32, normalised, of N paths."""
        return normalise(torch.stack([self.uint8(path) for path in paths]), self.preprocessing)

    def batches(self, paths: Sequence[Path], size: int) -> Iterator[Tensor]:
        """Batches [B, 3, S, S] of the paths, in order."""
        for start in range(0, len(paths), size):
            yield self.pixels(paths[start : start + size])

    def distinct(self, paths: Sequence[Path], hidden: bool = False) -> tuple[Tensor, Tensor]:
        """Each distinct picture once, in the order of first appearance, and where each row's picture is.

        Args:
            paths: the picture of each of N rows.
            hidden: show `blank` in place of all of them.

        Returns:
            Pixels [I, 3, S, S] as from `pixels`, filled up with blank pictures to a multiple of `COUNT_STEP`;
            and [N] int64 indices into them.
        """
        if hidden:
            return self.blank(len(paths))
        places = {path: place for place, path in enumerate(dict.fromkeys(paths))}
        pixels = self.pixels(list(places))
        filled = pixels.new_zeros(round_up(len(pixels), COUNT_STEP), *pixels.shape[1:])
        filled[: len(pixels)] = pixels
        return filled, torch.tensor([places[path] for path in paths], dtype=torch.int64)

    def blank(self, rows: int) -> tuple[Tensor, Tensor]:
        """One picture of the mean colour for all `rows` rows: what a blanked baseline sees.

        Returns:
            Pixels [1, 3, S, S] (zeros after normalisation), and [N] int64 zeros.
        """
        return torch.zeros(1, 3, *self.preprocessing.shape), torch.zeros(rows, dtype=torch.int64)


def squash(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    """A picture squashed to the model's square (bicubic, antialiased): [3, H, W] -> [3, S, S] uint8."""
    return show(picture, View(0, 0, picture.shape[2], picture.shape[1]), preprocessing.shape)


def normalise(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    """[N, 3, S, S] uint8 -> float32 pixels as the model takes them."""
    return normalise_pixels(pictures, Normalisation(preprocessing.mean, preprocessing.std))
