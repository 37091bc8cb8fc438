"""The index of tar shards: where their records lie, found by scanning or read from a file beside them.

`index.xfm` is a safetensors file: `spans` ([N, 3, 2] int64, see `spans_of`) first, so that any number of
records is written in one go; then the columns of `ShardIndex`, the names ended by zeros. A digest of all but
the spans is in its metadata. Keys of records are not kept: they stand in the shard before each member, see
`xfm.data.sources.tar`. The spans are read at their place rather than mapped: a map of a file that is cut ends
the process.

An index is a hint: what it says of a shard is checked when that is opened, and of a record when it is read.
"""

import hashlib
import json
import logging
import os
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing import get_context
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from tqdm import tqdm

from xfm.core.errors import UserError, explained
from xfm.core.files import open_regular, reading, replacing, writing
from xfm.data.sources.base import StoredFile, sampled_digest
from xfm.data.sources.tar import scan_members, spans_of, text_rows

INDEX = "index.xfm"
"""Name of the file: no other tool takes it for its own, and no pattern of shards takes it for one."""
COMMAND = "xfm data index"
"""What writes it."""
HEADER = 1024
"""Bytes before the spans."""
SMALL = 256 << 20
"""Bytes of shards that are scanned without a word."""
_SPAN = 48
_VERSION = "3"
_TYPES = {np.dtype("<i8"): "I64", np.dtype("u1"): "U8"}
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class IndexedShard:
    """A shard: name in its folder, bytes, nanoseconds, sampled digest (8 bytes), spans, see `spans_of`."""

    name: str
    size: int
    modified: int
    sample: bytes
    spans: np.ndarray


@dataclass(frozen=True, eq=False)
class ShardIndex:
    """Where the records of S shards lie: bytes, nanoseconds, running totals of records and of records with a
    JSON or text [S] int64; digests [S, 8] uint8; `place` is the index file or address, None after a scan."""

    names: tuple[str, ...]
    sizes: np.ndarray
    modified: np.ndarray
    ends: np.ndarray
    text_ends: np.ndarray
    samples: np.ndarray
    place: Path | str | None = None
    _spans: np.ndarray | StoredFile = field(kw_only=True, repr=False)

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

    def spans(self, start: int, stop: int) -> np.ndarray:
        """[stop - start, 3, 2] int64 spans of the records from `start` on; raises OSError."""
        if isinstance(self._spans, np.ndarray):
            return self._spans[start:stop]
        data = self._spans.read(HEADER + start * _SPAN, (stop - start) * _SPAN)
        return np.frombuffer(data, "<i8").reshape(-1, 3, 2)

    def shards(self) -> Iterator[IndexedShard]:
        """Its shards, to be written into another index; raises OSError."""
        for number, name in enumerate(self.names):
            size, modified = int(self.sizes[number]), int(self.modified[number])
            spans = self.spans(self.start(number), int(self.ends[number]))
            yield IndexedShard(name, size, modified, self.samples[number].tobytes(), spans)


# ---------------------------------------------------------------- scanning
def index_shard(path: Path) -> IndexedShard:
    """Scan a whole shard for its entry, as soon as it has its last bytes and its name. Raises UserError where
    it is missing, truncated, not a tar, or a key has two images, JSONs or texts."""
    with reading(path):
        file = StoredFile.of(path)
        spans = spans_of(path, scan_members(file))
        return IndexedShard(path.name, file.size, file.modified, sampled_digest(file), spans)


def scanned_index(folder: Path, names: Sequence[str]) -> ShardIndex:
    """The index of shards that have none beside them, in memory; raises UserError as `index_shard`."""
    try:
        return _scanned(folder, tuple(StoredFile.of(folder / name) for name in names))
    except OSError as error:
        raise UserError(f"{error.filename}: cannot read the shard ({error.strerror}); check it.") from error


@lru_cache(maxsize=16)
def _scanned(folder: Path, files: tuple[StoredFile, ...]) -> ShardIndex:
    """Once for all streams and phases of a run."""
    if large := sum(file.size for file in files) > SMALL:
        warn_of_scan(folder, len(files))
    shown = tqdm(files, "scanning", unit="shard", disable=None if large else True, delay=2.0)
    return index_of([index_shard(file.path) for file in shown])


def index_of(found: Sequence[IndexedShard]) -> ShardIndex:
    """The index of some shards, in memory."""
    spans = np.concatenate([shard.spans for shard in found])
    return _of_columns(_columns([*map(_entry, found)]), len(spans), spans)


def warn_of_scan(folder: Path | str, shards: int) -> None:
    """Say that so many shards have no index, and how to write one."""
    _log.warning(
        "%s has %d shards without an index, which are scanned now; `%s %s` writes one beside them",
        *(folder, shards, COMMAND, folder if isinstance(folder, Path) else "FOLDER"),
    )


# ---------------------------------------------------------------- writing
_Entry = tuple[str, int, int, bytes, int, int]


def _entry(shard: IndexedShard) -> _Entry:
    counts = len(shard.spans), len(text_rows(shard.spans))
    return shard.name, shard.size, shard.modified, shard.sample, *counts


def _columns(entries: Sequence[_Entry]) -> dict[str, np.ndarray]:
    names, sizes, modified, samples, records, texts = zip(*entries, strict=True)
    totals = {"ends": np.cumsum(records), "text_ends": np.cumsum(texts)}
    numbers = {"sizes": sizes, "modified": modified, **totals}
    columns = {name: np.array(column, "<i8") for name, column in numbers.items()}
    columns["samples"] = np.frombuffer(b"".join(samples), "u1").reshape(len(names), -1)
    columns["names"] = np.frombuffer(b"".join(os.fsencode(name) + b"\0" for name in names), "u1")
    return columns


def header(columns: dict[str, np.ndarray], records: int) -> bytes:
    """The header of an index with these columns behind so many spans."""
    digest, said, end = hashlib.sha256(), dict[str, object](), records * _SPAN
    said["spans"] = {"dtype": "I64", "shape": [records, 3, 2], "data_offsets": [0, end]}
    for name, column in columns.items():
        start, end = end, end + column.nbytes
        place = {"shape": [*column.shape], "data_offsets": [start, end]}
        said[name] = {"dtype": _TYPES[column.dtype], **place}
        digest.update(column.tobytes())
    digest.update(json.dumps(said).encode())
    said["__metadata__"] = {"xfm": _VERSION, "sha256": digest.hexdigest()}
    return (HEADER - 8).to_bytes(8, "little") + json.dumps(said).encode().ljust(HEADER - 8)


def write_index(folder: Path, shards: Iterable[IndexedShard], name: str = INDEX) -> Path:
    """Write the index of a folder, whole or not at all, and return its path. Entries, in the order of names,
    are taken one at a time, to hold the spans of one. Raises UserError where there is none, or one twice."""
    path, entries = folder / name, list[_Entry]()
    with writing(path, "and run the command again"), replacing(path) as stream:
        stream.write(bytes(HEADER))
        for shard in shards:
            stream.write(np.ascontiguousarray(shard.spans, "<i8").tobytes())
            entries.append(_entry(shard))
        if not entries:
            raise UserError(f"{path}: there are no shards to index; check the folder")
        if len({name for name, *_ in entries}) != len(entries):
            raise UserError(f"{path}: two shards have one name; give every shard once")
        columns = _columns(entries)
        for column in columns.values():
            stream.write(column.tobytes())
        stream.seek(0)
        stream.write(header(columns, int(columns["ends"][-1])))
    return path


def index_folder(folder: Path, shards: Sequence[Path], workers: int = 1, progress: bool = True) -> Path:
    """Scan existing shards with several processes and write the index of their folder."""

    def found() -> Iterator[IndexedShard]:
        if workers < 2 or len(shards) < 2:
            yield from map(index_shard, shards)
            return
        # Started anew: this process may have threads. Not all at a time, lest finished ones pile up.
        together = 16 * workers
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            for start in range(0, len(shards), together):
                yield from pool.map(index_shard, shards[start : start + together])

    hidden = None if progress else True
    return write_index(folder, tqdm(found(), "indexing", len(shards), unit="shard", disable=hidden))


# ---------------------------------------------------------------- reading
def saved_index(folder: Path) -> ShardIndex | None:
    """The index of a folder, if it has one; raises as `open_index`."""
    try:
        return _opened(StoredFile.of(folder / INDEX))
    except OSError:
        return None


@lru_cache(maxsize=16)
def _opened(file: StoredFile) -> ShardIndex:
    return open_index(file.path)


def open_index(path: Path, url: str = "") -> ShardIndex:
    """Open an index, the copy of one at `url` if that is given: its table is read and checked, its spans stay
    on disk. Raises UserError."""
    remedy = f"write it again with `{COMMAND} {'FOLDER' if url else path.parent}`, or remove it"
    remedy, place = (f"{remedy}, and upload it", url) if url else (remedy, path)
    broken = (SafetensorError, ValueError, LookupError, TypeError)
    with explained(f"{place}: the index of the shards is damaged", remedy, *broken), reading(place, remedy):
        file = StoredFile.of(path)
        with open_regular(path) as stream:
            head = stream.read(HEADER)
        with safe_open(path, "numpy") as stored:
            columns = {name: stored.get_tensor(name) for name in stored.offset_keys() if name != "spans"}
            records = stored.get_slice("spans").get_shape()[0]
        if head != header(columns, records):
            raise ValueError("its header is another one")
        return replace(_of_columns(columns, records, file), place=place)


def _of_columns(columns: dict[str, np.ndarray], records: int, spans: np.ndarray | StoredFile) -> ShardIndex:
    data = columns.pop("names").tobytes()
    names = os.fsdecode(data).split("\0")
    index = ShardIndex(tuple(names[:-1]), **columns, place=None, _spans=spans)
    shards = len(index)
    if not shards or any(len(column) != shards for column in columns.values()) or len({*names}) <= shards:
        raise ValueError("its names are not one for each shard")
    if b"/" in data or not {"", ".", ".."}.isdisjoint(index.names):
        raise ValueError("a name in it is none of a file beside it")
    counts, texts = index.counts(), index.counts(texts=True)
    falls = [ends[0] < 0 or (ends[1:] < ends[:-1]).any() for ends in (index.ends, index.text_ends)]
    if any(falls) or index.records != records or (texts > counts).any() or (index.sizes < 0).any():
        raise ValueError("its counts do not fit together")
    return index
