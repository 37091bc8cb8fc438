"""Shards without a saved index, scanned once on a machine. Small corpora are scanned by every process, in
memory; the index of larger ones is kept in the user's cache, where other processes and later runs find it by
the size and time of every shard."""

import contextlib
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from weakref import WeakValueDictionary

from tqdm import tqdm

from xfm.core.errors import UserError
from xfm.core.locks import in_turn
from xfm.core.paths import cache_folder
from xfm.data.sources.base import StoredFile
from xfm.data.sources.shard_index import (
    COMMAND,
    IndexedShard,
    ShardIndex,
    index_shard,
    open_index,
    write_index,
)

SMALL = 256 << 20
"""Bytes of shards that a process scans for itself."""
_log = logging.getLogger(__name__)
_known: WeakValueDictionary[tuple[StoredFile, ...], ShardIndex] = WeakValueDictionary()
"""What is in use: streams and phases of a run read the same shards."""


def scanned_index(folder: Path, names: Sequence[str]) -> ShardIndex:
    """Where the records of some shards lie; raises UserError as `index_shard`."""
    files = tuple(_stored(folder / name) for name in names)
    if (found := _known.get(files)) is None:
        small = sum(file.size for file in files) <= SMALL
        found = _known[files] = ShardIndex.of(_scan(files)) if small else _of_machine(folder, files)
    return found


def _stored(path: Path) -> StoredFile:
    try:
        return StoredFile.of(path)
    except OSError as error:
        raise UserError(f"{path}: cannot read the shard ({error.strerror}); check the path.") from error


def _scan(files: Iterable[StoredFile]) -> Iterator[IndexedShard]:
    return (index_shard(file.path, checksum=False) for file in files)


def _of_machine(folder: Path, files: Sequence[StoredFile]) -> ShardIndex:
    def scan() -> Iterator[IndexedShard]:
        warn_of_scan(folder, len(files))
        yield from tqdm(_scan(files), "scanning", len(files), unit="shard", disable=None, delay=2.0)

    place = index_place(*(file.path.absolute() for file in files))
    try:
        return cached_index(place, [(file.path.name, file.size, file.modified) for file in files], scan)
    except OSError as error:
        _log.warning("%s cannot be written (%s): every process scans the shards", place, error.strerror)
        return ShardIndex.of(scan())


def index_place(*names: Path | str) -> Path:
    """Where an index of what has these names is kept on this machine."""
    digest = hashlib.sha256(b"\0".join(map(os.fsencode, names)))
    return cache_folder() / "indexed" / f"{digest.hexdigest()[:32]}.xfm"


def cached_index(
    place: Path, known: Sequence[tuple[str, int, int]], scan: Callable[[], Iterator[IndexedShard]]
) -> ShardIndex:
    """The index of shards (name, size, time) kept at a place; one process scans. May raise OSError."""
    with in_turn(place):
        with contextlib.suppress(UserError):
            found = open_index(place)
            table = found.table
            if [*zip(table.names, table.sizes.tolist(), table.modified.tolist(), strict=True)] == list(known):
                return replace(found, place=None)
        return replace(open_index(write_index(place.parent, scan(), place.name)), place=None)


def warn_of_scan(folder: Path | str, shards: int) -> None:
    """Say that so many shards have no index, and how to write one."""
    _log.warning(
        "%s has %d shards without an index, which are scanned now; `%s %s` writes one beside them, for every "
        "machine that reads them",
        *(folder, shards, COMMAND, folder if isinstance(folder, Path) else "FOLDER"),
    )
