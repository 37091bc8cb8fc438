"""What a store of vectors must be able to do; `xfm.index.lance` and `xfm.index.postgres` are two."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from xfm.errors import UserError
from xfm.index.conditions import Condition, Kind
from xfm.index.rows import Near, Row

EXACT_BELOW = 200_000
"""Rows up to which every vector is looked at: that takes milliseconds, and nothing is missed."""


class StoreError(UserError):
    """What a collection lies in cannot be used, whatever is asked of it."""


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
