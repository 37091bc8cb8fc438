"""What a collection knows of a picture, and what a search finds."""

import hashlib
import io
import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xfm.data.records import is_text
from xfm.errors import UserError, first_line
from xfm.index.conditions import Metadata


class StoreError(UserError):
    """What a collection lies in cannot be used, whatever is asked of it."""


@dataclass(frozen=True)
class IndexedPicture:
    """A picture of a collection.

    Attributes:
        key: its name, which no other picture has.
        source: where it came from, as people read it.
        width, height: of the picture as it was given, in pixels.
        pixels: as the model sees it, a PNG; empty where the collection does not keep pictures.
        metadata: what conditions are about.

    Raises:
        ValueError: a file that is damaged, or of a stranger, had something else in their place.
    """

    key: str
    source: str
    width: int
    height: int
    pixels: bytes = field(repr=False)
    metadata: Metadata = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not isinstance(self.metadata, Mapping) or not isinstance(self.pixels, bytes):
            raise ValueError("it has a row of other kinds")
        cells = [*self.metadata.values()]
        texts = [self.key, self.source, *self.metadata, *(one for one in cells if isinstance(one, str))]
        if not all(isinstance(one, str | int | float) for one in cells) or not all(map(is_text, texts)):
            raise ValueError("it has a row of other kinds")
        if not all(math.isfinite(one) for one in cells if isinstance(one, float)):
            raise ValueError("it has a row with a number that is none")
        if not all(type(side) is int and 0 < side < 1 << 31 for side in (self.width, self.height)):
            raise ValueError("it has a picture of no size")


@dataclass(frozen=True)
class Row:
    """An entry with its vector, [E] float32 of length one."""

    entry: IndexedPicture
    vector: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class Near:
    """A picture that a store finds near a vector.

    Attributes:
        entry: without its pixels.
        similarity: cosine.
    """

    entry: IndexedPicture
    similarity: float


def to_png(pixels: Tensor) -> bytes:
    """[3, H, W] uint8 -> a PNG; nothing is lost."""
    out = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(out, "png", compress_level=1)
    return out.getvalue()


def digest(data: bytes) -> bytes:
    """What tells one picture's bytes from another's."""
    return hashlib.blake2b(data, digest_size=16).digest()


def from_png(data: bytes, shape: tuple[int, int]) -> Tensor:
    """A PNG of `to_png` -> [3, H, W] uint8.

    Raises:
        StoreError: it is none, or of another height and width, and is not decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["png"]) as picture:
            if picture.size != shape[::-1]:
                raise ValueError(f"it has {picture.size[0]} x {picture.size[1]} pixels")
            return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()
    except Exception as error:
        raise StoreError(
            f"a picture of the collection is damaged ({first_line(error)}): build the collection again"
        ) from error
