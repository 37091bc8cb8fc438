"""What is known of tar shards without opening them: names, sizes, times, counts, checksums."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from xfm.data.sources.base import StoredFile, sampled_digest
from xfm.data.sources.tar import scan_spans, text_rows
from xfm.errors import UserError
from xfm.files import file_digest

_COLUMNS = {
    "sizes": "<i8",
    "modified": "<i8",
    "ends": "<i8",
    "text_ends": "<i8",
    "samples": "V8",
    "checksums": "V32",
}
"""The columns of a table as they are stored, one after the other; the names follow."""


@dataclass(frozen=True, eq=False)
class IndexedShard:
    """A shard and where its records lie.

    Attributes:
        name: of the file in its folder.
        size: bytes.
        modified: time of the last change in nanoseconds.
        sample: digest of its size and of 64 blocks, by which a copy is known again: 8 bytes.
        sha256: digest of the whole: 32 bytes, zeros where nobody has computed it.
        spans: [N, 3, 2] int64 of picture, JSON and text of each record, see `scan_spans`.
    """

    name: str
    size: int
    modified: int
    sample: bytes
    sha256: bytes
    spans: np.ndarray


def index_shard(path: Path, checksum: bool = True) -> IndexedShard:
    """Read a whole shard for its entry; give it as soon as the shard has its last bytes and its name.

    Args:
        path: of the shard.
        checksum: whether to compute its sha256, for which all of it is read.

    Raises:
        UserError: the shard is missing, truncated, not a tar, or a key has two pictures, JSONs or texts.
    """
    try:
        file = StoredFile.of(path)
        spans = scan_spans(file)
        sha256 = bytes.fromhex(file_digest(path)) if checksum else bytes(32)
        return IndexedShard(path.name, file.size, file.modified, sampled_digest(file), sha256, spans)
    except OSError as error:
        raise UserError(f"{path}: cannot read the shard ({error.strerror}); check the path.") from error


@dataclass(frozen=True, eq=False)
class ShardTable:
    """Some shards, without their records.

    Attributes:
        names: of the files.
        sizes: [S] int64 bytes.
        modified: [S] int64 nanoseconds.
        ends: [S] int64, how many records the shards up to and with this one have.
        text_ends: [S] int64, the same for records with a JSON or a text.
        samples, checksums: [S] of 8 and of 32 bytes, see `IndexedShard`.
    """

    names: tuple[str, ...]
    sizes: np.ndarray
    modified: np.ndarray
    ends: np.ndarray
    text_ends: np.ndarray
    samples: np.ndarray
    checksums: np.ndarray

    def __len__(self) -> int:
        return len(self.names)

    @property
    def records(self) -> int:
        """How many records there are."""
        return int(self.ends[-1])

    def start(self, shard: int) -> int:
        """The number of a shard's first record."""
        return int(self.ends[shard - 1]) if shard else 0

    def counts(self, shard: int, texts: bool = False) -> int:
        """How many records a shard has, or how many with a JSON or a text."""
        ends = self.text_ends if texts else self.ends
        return int(ends[shard]) - (int(ends[shard - 1]) if shard else 0)

    @classmethod
    def decoded(cls, data: bytes, shards: int, records: int) -> "ShardTable":
        """A table from its bytes.

        Raises:
            ValueError: it is not what `ShardRows.encoded` would give; the message says why.
        """
        columns: dict[str, Any] = {}
        place = 0
        for name, kind in _COLUMNS.items():
            columns[name] = np.frombuffer(data, kind, shards, place)
            place += columns[name].nbytes
        names = os.fsdecode(data[place:]).split("\0")
        if len(names) != shards + 1 or names.pop() or len(set(names)) != shards:
            raise ValueError("its names are not one for each shard")
        if b"/" in data[place:] or not {"", ".", ".."}.isdisjoint(names):
            raise ValueError("a name in it is none of a file beside it")
        table = cls(tuple(names), **columns)
        if not table.fits(records):
            raise ValueError("its counts do not fit together")
        return table

    def fits(self, records: int) -> bool:
        """Whether the counts are those of so many records."""
        for ends in (self.ends, self.text_ends):
            if ends[0] < 0 or (ends[1:] < ends[:-1]).any():
                return False
        texts, counts = records_of(self, texts=True), records_of(self, texts=False)
        return bool(self.ends[-1] == records and (texts <= counts).all() and (self.sizes >= 0).all())


def table_size(shards: int, names: int) -> int:
    """Bytes of a table of so many shards, with so many bytes of names."""
    return shards * sum(np.dtype(kind).itemsize for kind in _COLUMNS.values()) + names


class ShardRows:
    """A table that grows by a shard at a time; the spans of the shards are not kept."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self.records = self.texts = 0
        self._rows: list[tuple[int, int, int, int, bytes, bytes]] = []

    def add(self, shard: IndexedShard) -> None:
        """Append a shard."""
        self.records += len(shard.spans)
        self.texts += len(text_rows(shard.spans))
        self.names.append(shard.name)
        counts = self.records, self.texts
        self._rows.append((shard.size, shard.modified, *counts, shard.sample, shard.sha256))

    def columns(self) -> dict[str, np.ndarray]:
        """The columns of the table, by name."""
        columns = zip(_COLUMNS.items(), zip(*self._rows, strict=True), strict=True)
        return {name: np.array(column, kind) for (name, kind), column in columns}

    def encoded_names(self) -> bytes:
        """The names, each ended by a zero."""
        return b"".join(os.fsencode(name) + b"\0" for name in self.names)

    def encoded(self) -> bytes:
        """The table as it is stored."""
        return b"".join(column.tobytes() for column in self.columns().values()) + self.encoded_names()


class ShardIndex(Protocol):
    """Where the records of some shards lie."""

    @property
    def table(self) -> ShardTable:
        """The shards."""
        ...

    @property
    def place(self) -> Path | str | None:
        """The file that says so and can be written again; None where the shards were scanned for this run."""
        ...

    def spans(self, start: int, stop: int) -> np.ndarray:
        """[stop - start, 3, 2] int64 spans of the records from `start` on; raises OSError."""
        ...


@dataclass(frozen=True, eq=False)
class ScannedIndex:
    """The index of shards that this process has scanned.

    Attributes:
        table: the shards.
        place: None.
    """

    table: ShardTable
    _spans: np.ndarray = field(repr=False)
    place: Path | None = None

    @classmethod
    def of(cls, shards: Iterable[IndexedShard]) -> "ScannedIndex":
        """The index of these shards, in this order."""
        rows = ShardRows()
        spans: list[np.ndarray] = []
        for shard in shards:
            rows.add(shard)
            spans.append(shard.spans)
        return cls(ShardTable(tuple(rows.names), **rows.columns()), np.concatenate(spans))

    def spans(self, start: int, stop: int) -> np.ndarray:
        """See `ShardIndex.spans`."""
        return self._spans[start:stop]


def records_of(table: ShardTable, texts: bool) -> np.ndarray:
    """[S] how many records each shard has, or how many with a JSON or a text."""
    return np.diff(table.text_ends if texts else table.ends, prepend=0)


def numbers_of(table: ShardTable, names: Sequence[str]) -> np.ndarray:
    """[M] places in the table of the shards of these names; -1 where one is not in it."""
    if len(names) == len(table) and tuple(names) == table.names:
        return np.arange(len(table))
    known = {name: number for number, name in enumerate(table.names)}
    return np.array([known.get(name, -1) for name in names], np.int64)
