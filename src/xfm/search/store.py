"""What a store of vectors must be able to do; `xfm.search.lance` and `xfm.search.postgres` are two."""

import functools
import hashlib
import io
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from xfm.core.errors import AGAIN, UserError, explain, first_line, refused
from xfm.data.records import is_text
from xfm.search.filters import Condition, Kind, Metadata


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
        reason = "it is no PNG" if isinstance(error, UnidentifiedImageError) else first_line(error)
        raise StoreError(
            f"a picture of the collection is damaged ({reason}): build the collection again"
        ) from error


K = TypeVar("K")

EXACT_BELOW = 200_000
"""Rows up to which every vector is looked at: that takes milliseconds, and nothing is missed."""


@dataclass(frozen=True)
class StoreStats:
    """How large a store is.

    Attributes:
        rows: pictures in it.
        bytes: that it takes.
        parts: files or segments that it lies in, as far as the store has such.
        search: how it finds neighbours, in words.
    """

    rows: int
    bytes: int
    parts: int
    search: str


class Store(Protocol):
    """Rows by key, found by the direction of their vectors. Conditions come checked, and all must hold.

    One process writes at a time. Others may read meanwhile, and see each call of `add` and `remove` whole or
    not at all. What has returned is durable: it outlives this process.
    """

    def add(self, rows: Sequence[Row], replacing: bool) -> None:
        """Put rows in.

        Args:
            rows: with different keys.
            replacing: whether rows of these keys may be there, which they then replace.
        """
        ...

    def remove(self, keys: Sequence[str]) -> None:
        """Take the rows of some keys out; keys that are not there are passed over."""
        ...

    def require(self, fields: Mapping[str, Kind]) -> None:
        """Make room for fields of metadata; those that are there stay."""
        ...

    def nearest(self, vector: NDArray[np.float32], count: int, where: Sequence[Condition] = ()) -> list[Near]:
        """The rows nearest to a unit vector [E], the nearest first: `count` of them if so many pass."""
        ...

    def pixels(self, keys: Sequence[str]) -> dict[str, bytes]:
        """The pictures of some keys; keys that are not there are absent."""
        ...

    def keys(self, where: Sequence[Condition] = ()) -> Iterator[str]:
        """The keys of the rows that pass, in no order."""
        ...

    def count(self, where: Sequence[Condition] = ()) -> int:
        """How many rows pass."""
        ...

    def is_scattered(self) -> bool:
        """Whether it is worth making compact: so seldom that this stays a share of the cost of adding."""
        ...

    def compact(self) -> None:
        """Make searches as fast, and the store as small, as if all rows had been added at once."""
        ...

    def stats(self) -> StoreStats:
        """How large the store is."""
        ...

    def drop(self) -> None:
        """Remove the store and all that it holds."""
        ...

    def close(self) -> None:
        """Let go of connections and files."""
        ...


_RAISED = (sqlite3.Error, OSError, RuntimeError, ValueError, TypeError, LookupError)


def guarded(kind: type[K]) -> type[K]:
    """A class that says in a StoreError what is wrong with the files at its `place`.

    A collection may come from anybody, and the libraries that read it raise whatever they find.
    """
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
