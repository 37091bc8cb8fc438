"""The saved index of a folder of tar shards: one file beside them, by which they open without being scanned.

`index.xfm` holds, little-endian and without padding: a header of 128 bytes; `[N, 3, 2]` int64 spans (offset
of the picture, the JSON and the text of every record, 0 where there is none; its size in the lower 48 bits,
and above them how many blocks of headers stand before it); a table of the shards (`ShardTable`: names, sizes,
times, counts, checksums). The spans lie first and the header is written last, so
that the file is written in one go however many records there are. Where everything lies follows from the
counts in the header alone, and the digest of the table is in it. Nothing in the file is unpickled.

Keys of records are not kept: they stand in the shard before each member, see `xfm.data.sources.tar`.

An index is a hint: what it says of a shard is checked when that is opened, and of a record when it is read.
"""

import hashlib
import os
import struct
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from itertools import repeat
from multiprocessing import get_context
from pathlib import Path
from typing import BinaryIO
from weakref import WeakValueDictionary

import numpy as np
from tqdm import tqdm

from xfm.data.sources.base import FILES, StoredFile
from xfm.data.sources.shard_table import IndexedShard, ShardRows, ShardTable, index_shard, table_size
from xfm.errors import UserError
from xfm.files import open_regular, writing

INDEX = "index.xfm"
"""Name of the file: no other tool takes it for its own, and no pattern of shards takes it for one."""
COMMAND = "xfm data index"
"""What writes it."""
SPAN = 48
"""Bytes of the spans of a record."""
_MAGIC, _VERSION = b"XFMINDEX", 1
_HEADER = struct.Struct("<8sIIQQQ32s56x")
_COUNTS = struct.Struct("<QQQ")
_MOST_SHARDS, _MOST_RECORDS, _LONGEST_NAME = 1 << 22, 1 << 40, 256
"""Beyond them a header is nonsense, and a table would not fit into memory."""


@dataclass(frozen=True, eq=False)
class SavedIndex:
    """An index that was opened; its spans stay in the file.

    They are read at their place rather than mapped: a map of a file that is cut ends the process.

    Attributes:
        place: the file, or the address that it was fetched from; None where nobody has written it beside
            the shards.
        table: the shards.
    """

    place: Path | str | None
    table: ShardTable
    _file: StoredFile = field(repr=False)

    def spans(self, start: int, stop: int) -> np.ndarray:
        """See `ShardIndex.spans`."""
        data = FILES.read(self._file, _HEADER.size + start * SPAN, (stop - start) * SPAN)
        return np.frombuffer(data, "<i8").reshape(-1, 3, 2)

    def shards(self) -> Iterator[IndexedShard]:
        """Its shards, to be written into another index; raises OSError."""
        table, start = self.table, 0
        for number, name in enumerate(table.names):
            end = int(table.ends[number])
            size, modified = int(table.sizes[number]), int(table.modified[number])
            digests = table.samples[number].tobytes(), table.checksums[number].tobytes()
            yield IndexedShard(name, size, modified, *digests, self.spans(start, end))
            start = end


# ---------------------------------------------------------------- writing
def write_index(folder: Path, shards: Iterable[IndexedShard], name: str = INDEX) -> Path:
    """Write the index of a folder; the file holds the old or the new bytes, never half.

    Args:
        folder: where it is written, that of the shards.
        shards: their entries, of `index_shard` or of `SavedIndex.shards`, in the order of their names. They
            are taken one at a time, so that the spans of one are in memory.
        name: of the file; another one than `INDEX` for a part of the shards, such as those that one process
            of several has made.

    Returns:
        The path of the file.

    Raises:
        UserError: the folder cannot be written, there are no shards, or two have one name.
    """
    path = folder / name
    partial = path.with_name(f".{name}.partial-{os.getpid()}")
    with writing(path, "and run the command again"):
        try:
            with partial.open("wb") as stream:
                _write(stream, shards, path)
                stream.flush()
                os.fsync(stream.fileno())
            os.replace(partial, path)
        finally:
            partial.unlink(missing_ok=True)
    return path


def _write(stream: BinaryIO, shards: Iterable[IndexedShard], path: Path) -> None:
    stream.write(bytes(_HEADER.size))
    rows = ShardRows()
    for shard in shards:
        stream.write(np.ascontiguousarray(shard.spans, "<i8").tobytes())
        rows.add(shard)
    if not rows.names:
        raise UserError(f"{path}: there are no shards to index; check the folder")
    if len(set(rows.names)) != len(rows.names):
        raise UserError(f"{path}: two shards have one name; give every shard once")
    stream.write(table := rows.encoded())
    counts = len(rows.names), rows.records, len(rows.encoded_names())
    stream.seek(0)
    stream.write(_HEADER.pack(_MAGIC, _VERSION, 0, *counts, _digest(counts, table)))


def _digest(counts: tuple[int, int, int], table: bytes) -> bytes:
    return hashlib.sha256(_COUNTS.pack(*counts) + table).digest()


def index_folder(
    folder: Path, shards: Sequence[Path], workers: int = 1, progress: bool = True, checksums: bool = True
) -> Path:
    """Scan shards that exist already, several at a time, and write the index of their folder.

    Args:
        folder: of the shards.
        shards: their paths, in it, in order.
        workers: processes.
        progress: show a bar.
        checksums: whether to compute the sha256 of each, for which all of it is read.

    Raises:
        UserError: a shard is damaged, or the folder cannot be written.
    """
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
_opened: WeakValueDictionary[StoredFile, SavedIndex] = WeakValueDictionary()
"""What is in use: streams and phases of a run read the same shards."""


def saved_index(folder: Path) -> SavedIndex | None:
    """The index of a folder, if it has one; raises as `open_index`."""
    try:
        file = StoredFile.of(folder / INDEX)
    except OSError:
        return None
    if (found := _opened.get(file)) is None:
        found = _opened[file] = open_index(folder / INDEX)
    return found


def open_index(path: Path) -> SavedIndex:
    """Open an index: its table is read and checked, its spans stay where they are.

    Raises:
        UserError: it cannot be read, is of another version, damaged, or not what a writer would write.
    """
    try:
        file = StoredFile.of(path)
        with open_regular(path) as stream:
            counts, digest = _header(path, stream.read(_HEADER.size), file.size)
            stream.seek(_HEADER.size + counts[1] * SPAN)
            data = stream.read(table_size(counts[0], counts[2]))
    except OSError as error:
        raise UserError(f"{path}: cannot read the index ({error.strerror}); {_remedy(path)}") from error
    return SavedIndex(path, _read_table(path, data, counts, digest), file)


def _header(path: Path, head: bytes, size: int) -> tuple[tuple[int, int, int], bytes]:
    if len(head) < _HEADER.size or head[:8] != _MAGIC:
        raise _damaged(path, "it does not begin as one")
    _, version, unused, shards, records, names, digest = _HEADER.unpack(head)
    if version != _VERSION or unused:
        raise UserError(f"{path}: an index of version {version}, not {_VERSION}; {_remedy(path)}")
    if not 0 < shards <= _MOST_SHARDS or records > _MOST_RECORDS or names > shards * _LONGEST_NAME:
        raise _damaged(path, "its counts are impossible")
    expected = _HEADER.size + records * SPAN + table_size(shards, names)
    if size != expected:
        raise _damaged(path, f"it has {size} bytes in place of {expected}")
    return (shards, records, names), digest


def _read_table(path: Path, data: bytes, counts: tuple[int, int, int], digest: bytes) -> ShardTable:
    if _digest(counts, data) != digest:
        raise _damaged(path, "its digest is another one")
    try:
        return ShardTable.decoded(data, *counts[:2])
    except ValueError as error:
        raise _damaged(path, str(error)) from None


def _damaged(path: Path, why: str) -> UserError:
    return UserError(f"{path}: the index of the shards is damaged ({why}); {_remedy(path)}")


def _remedy(path: Path) -> str:
    return f"write it again with `{COMMAND} {path.parent}`, or remove it"
