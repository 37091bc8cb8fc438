"""The index of tar shards: where their records lie, found by scanning or read from a file beside them.

`index.xfm` is a safetensors file: `spans` ([N, 3, 2] int64, see `spans_of`) first, so that any number of
records is written in one go; then the columns of `ShardTable`, the names ended by zeros. A digest of all but
the spans is in its metadata. Keys of records are not kept: they stand in the shard before each member, see
`xfm.data.sources.tar`. The spans are read at their place rather than mapped: a map of a file that is cut ends
the process.

An index is a hint: what it says of a shard is checked when that is opened, and of a record when it is read.
"""

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from weakref import WeakValueDictionary

import numpy as np
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from xfm.core.errors import UserError
from xfm.core.files import file_digest, open_regular, replacing, writing
from xfm.data.sources.base import FILES, StoredFile, sampled_digest
from xfm.data.sources.tar import scan_spans, text_rows

INDEX = "index.xfm"
"""Name of the file: no other tool takes it for its own, and no pattern of shards takes it for one."""
COMMAND = "xfm data index"
"""What writes it."""
HEADER = 1024
"""Bytes before the spans."""
_SPAN = 48
_VERSION = "2"
_TYPES = {np.dtype("<i8"): "I64", np.dtype("u1"): "U8"}


@dataclass(frozen=True, eq=False)
class IndexedShard:
    """A shard, by name in its folder, bytes, nanoseconds of the last change, sampled digest (8 bytes) and
    sha256 (32 bytes, zeros where unknown), and the spans [N, 3, 2] int64 of its records, see `spans_of`."""

    name: str
    size: int
    modified: int
    sample: bytes
    sha256: bytes
    spans: np.ndarray


@dataclass(frozen=True, eq=False)
class ShardTable:
    """Columns of S shards without their records: bytes, nanoseconds, running totals of records and of records
    with a JSON or text [S] int64; digests [S, 8] and [S, 32] uint8."""

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

    def counts(self, texts: bool = False) -> np.ndarray:
        """[S] how many records each shard has, or how many with a JSON or a text."""
        return np.diff(self.text_ends if texts else self.ends, prepend=0)

    def numbers(self, names: Sequence[str]) -> np.ndarray:
        """[M] places of the shards of these names; -1 where one is not here."""
        known = {name: number for number, name in enumerate(self.names)}
        return np.array([known.get(name, -1) for name in names], np.int64)


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Where records of shards lie; `place` is the index file or address, None after a scan."""

    table: ShardTable
    place: Path | str | None
    _spans: np.ndarray | StoredFile = field(repr=False)

    @classmethod
    def of(cls, shards: Iterable[IndexedShard]) -> "ShardIndex":
        """The index of these shards, in this order, in memory."""
        rows, spans = _Rows(), list[np.ndarray]()
        for shard in shards:
            rows.add(shard)
            spans.append(shard.spans)
        return cls(rows.table(), None, np.concatenate(spans))

    def spans(self, start: int, stop: int) -> np.ndarray:
        """[stop - start, 3, 2] int64 spans of the records from `start` on; raises OSError."""
        if isinstance(self._spans, np.ndarray):
            return self._spans[start:stop]
        data = FILES.read(self._spans, HEADER + start * _SPAN, (stop - start) * _SPAN)
        return np.frombuffer(data, "<i8").reshape(-1, 3, 2)

    def shards(self) -> Iterator[IndexedShard]:
        """Its shards, to be written into another index; raises OSError."""
        table = self.table
        for number, name in enumerate(table.names):
            size, modified = int(table.sizes[number]), int(table.modified[number])
            digests = table.samples[number].tobytes(), table.checksums[number].tobytes()
            spans = self.spans(table.start(number), int(table.ends[number]))
            yield IndexedShard(name, size, modified, *digests, spans)


# ---------------------------------------------------------------- writing
def index_shard(path: Path, checksum: bool = True) -> IndexedShard:
    """Scan a whole shard for its entry, as soon as it has its last bytes and its name; `checksum` reads all
    of it for a sha256. Raises UserError where it is missing, truncated, not a tar, or a key has two images,
    JSONs or texts."""
    try:
        file = StoredFile.of(path)
        spans = scan_spans(file)
        sha256 = bytes.fromhex(file_digest(path)) if checksum else bytes(32)
        return IndexedShard(path.name, file.size, file.modified, sampled_digest(file), sha256, spans)
    except OSError as error:
        raise UserError(f"{path}: cannot read the shard ({error.strerror}); check the path.") from error


class _Rows:
    def __init__(self) -> None:
        self.names: list[str] = []
        self._rows: list[tuple[int, int, int, int]] = []
        self._digests = [bytearray(), bytearray()]
        self._records = self._texts = 0

    def add(self, shard: IndexedShard) -> None:
        self._records += len(shard.spans)
        self._texts += len(text_rows(shard.spans))
        self.names.append(shard.name)
        self._rows.append((shard.size, shard.modified, self._records, self._texts))
        for digests, digest in zip(self._digests, (shard.sample, shard.sha256), strict=True):
            digests += digest

    def table(self) -> ShardTable:
        numbers = np.array(self._rows, "<i8").reshape(-1, 4).T.copy()
        digests = [np.frombuffer(one, "u1").reshape(len(self.names), -1) for one in self._digests]
        return ShardTable(tuple(self.names), *numbers, *digests)


def _columns(table: ShardTable) -> dict[str, np.ndarray]:
    columns = {name: column for name, column in vars(table).items() if name != "names"}
    names = b"".join(os.fsencode(name) + b"\0" for name in table.names)
    return {**columns, "names": np.frombuffer(names, "u1")}


def header(columns: dict[str, np.ndarray], records: int) -> bytes:
    """The header of an index with these columns behind so many spans."""
    digest, said, end = hashlib.sha256(), dict[str, object](), records * _SPAN
    said["spans"] = {"dtype": "I64", "shape": [records, 3, 2], "data_offsets": [0, end]}
    for name, column in columns.items():
        start, end = end, end + column.nbytes
        said[name] = {
            "dtype": _TYPES[column.dtype],
            "shape": [*column.shape],
            "data_offsets": [start, end],
        }
        digest.update(column.tobytes())
    digest.update(json.dumps(said).encode())
    said["__metadata__"] = {"xfm": _VERSION, "sha256": digest.hexdigest()}
    return (HEADER - 8).to_bytes(8, "little") + json.dumps(said).encode().ljust(HEADER - 8)


def write_index(folder: Path, shards: Iterable[IndexedShard], name: str = INDEX) -> Path:
    """Write the index of a folder, whole or not at all, and return its path. Entries, in the order of names,
    are taken one at a time, so that the spans of one are in memory. Raises UserError where there are none or
    two have one name."""
    path, rows = folder / name, _Rows()
    with writing(path, "and run the command again"), replacing(path) as stream:
        stream.write(bytes(HEADER))
        for shard in shards:
            stream.write(np.ascontiguousarray(shard.spans, "<i8").tobytes())
            rows.add(shard)
        if not rows.names:
            raise UserError(f"{path}: there are no shards to index; check the folder")
        if len(set(rows.names)) != len(rows.names):
            raise UserError(f"{path}: two shards have one name; give every shard once")
        table = rows.table()
        columns = _columns(table)
        for column in columns.values():
            stream.write(column.tobytes())
        stream.seek(0)
        stream.write(header(columns, table.records))
    return path


def index_folder(
    folder: Path, shards: Sequence[Path], workers: int = 1, progress: bool = True, checksums: bool = True
) -> Path:
    """Scan existing shards with several processes and write the index of their folder."""
    found = _indexed(shards, workers, checksums)
    hidden = None if progress else True
    return write_index(folder, tqdm(found, "indexing", len(shards), unit="shard", disable=hidden))


def _indexed(shards: Sequence[Path], workers: int, checksums: bool) -> Iterator[IndexedShard]:
    if workers < 2 or len(shards) < 2:
        yield from (index_shard(path, checksums) for path in shards)
        return
    # Started anew: this process may have threads. So many at a time, lest finished ones pile up in memory.
    together = 16 * workers
    with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
        for start in range(0, len(shards), together):
            yield from pool.map(index_shard, shards[start : start + together], repeat(checksums))


# ---------------------------------------------------------------- reading
_opened: WeakValueDictionary[StoredFile, ShardIndex] = WeakValueDictionary()
"""What is in use: streams and phases of a run read the same shards."""


def saved_index(folder: Path) -> ShardIndex | None:
    """The index of a folder, if it has one; raises as `open_index`."""
    try:
        file = StoredFile.of(folder / INDEX)
    except OSError:
        return None
    if (found := _opened.get(file)) is None:
        found = _opened[file] = open_index(folder / INDEX)
    return found


def open_index(path: Path) -> ShardIndex:
    """Open an index: its table is read and checked, its spans stay on disk. Raises UserError."""
    remedy = f"write it again with `{COMMAND} {path.parent}`, or remove it"
    try:
        file = StoredFile.of(path)
        with open_regular(path) as stream:
            head = stream.read(HEADER)
        with safe_open(path, "numpy") as stored:
            version = (stored.metadata() or {}).get("xfm")
            if version is not None and version != _VERSION:
                raise UserError(f"{path}: an index of version {version}, not {_VERSION}; {remedy}")
            columns = {name: stored.get_tensor(name) for name in stored.offset_keys() if name != "spans"}
            records = stored.get_slice("spans").get_shape()[0]
        if head != header(columns, records):
            raise ValueError("its header is another one")
        return ShardIndex(_table(columns, records), path, file)
    except OSError as error:
        raise UserError(f"{path}: cannot read the index ({error.strerror}); {remedy}") from error
    except (SafetensorError, ValueError, LookupError, TypeError) as error:
        raise UserError(f"{path}: the index of the shards is damaged ({error}); {remedy}") from None


def _table(columns: dict[str, np.ndarray], records: int) -> ShardTable:
    data = columns.pop("names").tobytes()
    names = os.fsdecode(data).split("\0")
    table = ShardTable(tuple(names[:-1]), **columns)
    shards = len(table.names)
    if not shards or any(len(column) != shards for column in columns.values()) or len({*names}) <= shards:
        raise ValueError("its names are not one for each shard")
    if b"/" in data or not {"", ".", ".."}.isdisjoint(table.names):
        raise ValueError("a name in it is none of a file beside it")
    counts, texts = table.counts(), table.counts(texts=True)
    falls = [ends[0] < 0 or (ends[1:] < ends[:-1]).any() for ends in (table.ends, table.text_ends)]
    if any(falls) or table.records != records or (texts > counts).any() or (table.sizes < 0).any():
        raise ValueError("its counts do not fit together")
    return table
