"""What a collection knows of a picture, and what a search finds."""

import hashlib
import io
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from xfm.index.conditions import Metadata


@dataclass(frozen=True)
class IndexedPicture:
    """A picture of a collection.

    Attributes:
        key: its name, which no other picture has.
        source: where it came from, as people read it.
        width, height: of the picture as it was given, in pixels.
        pixels: as the model sees it, a PNG; empty where the collection does not keep pictures.
        metadata: what conditions are about.
    """

    key: str
    source: str
    width: int
    height: int
    pixels: bytes = field(repr=False)
    metadata: Metadata = field(default_factory=dict)


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


def from_png(data: bytes) -> Tensor:
    """A PNG of `to_png` -> [3, H, W] uint8."""
    with Image.open(io.BytesIO(data), formats=["png"]) as picture:
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()
