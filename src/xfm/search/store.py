"""What the vector stores `xfm.search.lance` and `xfm.search.postgres` share: rows, pictures, errors."""

import functools
import hashlib
import io
import sqlite3
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from xfm.core.errors import AGAIN, UserError, explain, first_line, refused
from xfm.data.records import is_text
from xfm.search.filters import Metadata


class StoreError(UserError):
    """A collection's store cannot be used at all."""


@dataclass(frozen=True)
class IndexedImage:
    """A picture of a collection: key, source for people, original size in pixels, PNG as the model sees it,
    metadata.

    ValueError: a damaged or foreign file had other types in their place.
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
        whole = all(isinstance(one, str | int) or (isinstance(one, float) and isfinite(one)) for one in cells)
        sides = all(type(side) is int and 0 < side < 1 << 31 for side in (self.width, self.height))
        if not whole or not sides or not all(map(is_text, texts)):
            raise ValueError("it has a row of other kinds")


@dataclass(frozen=True)
class Row:
    """A picture with its unit vector [E] float32."""

    entry: IndexedImage
    vector: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class Neighbour:
    """A picture without pixels, and its cosine with a query."""

    entry: IndexedImage
    similarity: float


def digest(data: bytes) -> bytes:
    """Digest of a picture's bytes, 16 bytes."""
    return hashlib.blake2b(data, digest_size=16).digest()


def from_png(data: bytes, shape: tuple[int, int]) -> Tensor:
    """Pixels [3, H, W] uint8 of a PNG; StoreError: damaged, or of another size, and not decoded."""
    try:
        with Image.open(io.BytesIO(data), formats=["png"]) as picture:
            if picture.size != shape[::-1]:
                raise ValueError(f"it has {picture.size[0]} x {picture.size[1]} pixels")
            return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()
    except Exception as error:
        reason = "it is no PNG" if isinstance(error, UnidentifiedImageError) else first_line(error)
        raise StoreError(
            f"a picture of the collection is damaged ({reason}): build the collection again"
        ) from error


K = TypeVar("K")

EXACT_BELOW = 200_000
"""Rows up to which every vector is looked at: that takes milliseconds, and nothing is missed."""


@dataclass(frozen=True)
class StoreStats:
    """Rows, bytes, files or segments, and the kind of search in words."""

    rows: int
    bytes: int
    parts: int
    search: str


_RAISED = (sqlite3.Error, OSError, RuntimeError, ValueError, TypeError, LookupError)


def guarded(kind: type[K]) -> type[K]:
    """Class decorator: errors of the libraries that read the files at `place` become StoreErrors."""
    for name, method in [*vars(kind).items()]:
        if callable(method) and (name == "__init__" or not name.startswith("_")):
            setattr(kind, name, _guarded(method))
    return kind


def _guarded(method: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(method)
    def call(self: Any, *given: Any, **named: Any) -> Any:
        try:
            return method(self, *given, **named)
        except UserError:
            raise
        except BaseException as error:
            # A panic of LanceDB's is no Exception.
            if not isinstance(error, _RAISED) and type(error).__name__ != "PanicException":
                raise
            raise StoreError(_said(self.place, error)) from error

    return call


def _said(place: Path, error: BaseException) -> str:
    if refused(error) is not None:
        return explain(error, str(place)) or ""
    code = getattr(error, "sqlite_errorcode", 0) & 255
    denied = isinstance(error, PermissionError) or "Permission denied" in str(error)
    if denied or (isinstance(error, sqlite3.OperationalError) and code > sqlite3.SQLITE_ERROR):
        return (
            f"{place} cannot be used ({first_line(error)}): see to its permissions, and that nobody else "
            f"holds it, {AGAIN}"
        )
    return f"{place} is damaged ({first_line(error)}): remove {place.parent}, and build the collection again"
