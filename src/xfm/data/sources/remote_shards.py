"""Shards in object stores and on web servers, with the index beside them or one made by reading them."""

import contextlib
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import translate
from functools import lru_cache
from glob import has_magic
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from tqdm import tqdm

from xfm.config.data import RemoteConfig
from xfm.core.errors import UserError, explained
from xfm.core.files import reading, replacing, writing
from xfm.core.locks import in_turn
from xfm.core.paths import SECRET, cache_folder, holds_secret
from xfm.data.sources.base import RANGE, check_numbers, digest_of_samples, expanded, stale
from xfm.data.sources.remote import PIECE, RemoteReader, reader_of
from xfm.data.sources.shard_index import (
    COMMAND,
    INDEX,
    IndexedShard,
    ShardIndex,
    open_index,
    warn_of_scan,
    write_index,
)
from xfm.data.sources.stores import RefusedError, RemoteFile, asked, store_of
from xfm.data.sources.tar import members_of, spans_of

TAR = ".tar"
LOOKED_AT = 1000
"""So many shards are looked at as soon as they are opened."""
_TOGETHER = 16


@dataclass(frozen=True, eq=False)
class RemoteShards:
    """Some shards at an address, as they were when they were opened; the index may know others, too."""

    folder: str
    names: Sequence[str]
    index: ShardIndex
    files: dict[str, RemoteFile]
    reader: RemoteReader
    distant: ClassVar[bool] = True

    @property
    def remedy(self) -> str:
        """See `LocalShards.remedy`."""
        if self.index.place is None:
            return "start again"
        return f"write the index anew where the shards lie as files (`{COMMAND} FOLDER`), and upload both"

    def name(self, shard: str) -> str:
        """See `LocalShards.name`."""
        return f"{self.folder}/{shard}"

    def file(self, shard: int) -> RemoteFile:
        """See `LocalShards.file`; the size alone is compared with the index, lest all be fetched."""
        name, size = self.index.names[shard], int(self.index.sizes[shard])
        if (file := self.files.get(name)) is None:
            file = self.files[name] = self.reader.find(self.name(name))  # that version, from now on
        if file.size != size:
            raise stale(f"it has {file.size} bytes and was indexed with {size}; {self.remedy}")
        return file


_open: WeakValueDictionary[tuple[str, RemoteConfig], RemoteShards] = WeakValueDictionary()
"""What is in use: streams and phases of a run read the same shards, in the same version."""


def remote_shards(address: str, settings: RemoteConfig) -> RemoteShards:
    """The shards of an address: one, a pattern, a numbered range, or all of a folder. A web server lists no
    files, so that patterns and folders need an index there. UserError where something is missing."""
    if (found := _open.get((address, settings))) is None:
        with reading(address, "check the address"):
            found = _opened(address, settings)
        _open[address, settings] = found
    return found


def _opened(address: str, settings: RemoteConfig) -> RemoteShards:
    folder, last = _parted(address)
    reader, lists = reader_of(settings, cache_folder() / "remote"), store_of(address).lists
    spelt = [] if has_magic(last) else expanded(last)
    files = dict[str, RemoteFile]()
    if lists:
        files = asked(folder, lambda store: store.folder(folder), settings.patience)
    else:
        with contextlib.suppress(FileNotFoundError, RefusedError):  # some servers do not say what is there
            files[INDEX] = reader.find(f"{folder}/{INDEX}")
    index = _fetched_index(files[INDEX], reader) if INDEX in files else None
    if not (names := spelt):
        fits = re.compile("|".join(translate(name) for name in expanded(last))).match
        known = {*files, *(index.names if index else ())}
        names = sorted(name for name in known if fits(name) and name.endswith(TAR))
    if not names:
        told = "check the address, or upload what `xfm prepare` makes"
        if index is None and not lists:
            told = f"a web server lists none: give a numbered range, or upload what `{COMMAND} FOLDER` writes"
        raise UserError(f"{address}: no shards there; {told}")
    if lists:
        if gone := {*names}.difference(files):
            raise UserError(f"{folder}/{min(gone)}: the shard is missing; upload it, or check the address")
        if index is None and not spelt:
            check_numbers(address, names)
        files = {name: files[name] for name in names}
    elif index is None or len(names) <= LOOKED_AT:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            found = pool.map(lambda name: _found(f"{folder}/{name}", reader), names)
            files = dict(zip(names, found, strict=True))
    return RemoteShards(folder, names, index or _read_index(folder, [*files.values()], reader), files, reader)


def _found(url: str, reader: RemoteReader) -> RemoteFile:
    with reading(url, "check the address"):
        return reader.find(url)


def _parted(address: str) -> tuple[str, str]:
    if holds_secret(address):
        raise UserError(f"{address.partition('://')[0]}://...: {SECRET}")
    with explained(f"{address}: that is no address", "check it", ValueError):
        urlsplit(address)  # which refuses `http://[`
    folder, _, last = address.rpartition("/")
    if last.endswith(TAR):
        if RANGE.search(folder) or has_magic(folder.partition("://")[2]):
            raise UserError(f"{address}: a pattern may stand in the names of shards only, behind the last /")
        return folder, last
    if re.search(r"\.(jsonl?|parquet|csv|tgz|gz|zip)$", last):
        raise UserError(f"{address}: of addresses, {TAR} shards are read; `xfm prepare` makes them")
    return address.rstrip("/"), f"*{TAR}"


# ---------------------------------------------------------------- the index
def _fetched_index(file: RemoteFile, reader: RemoteReader) -> ShardIndex:
    def fetch(path: Path) -> None:
        with replacing(path) as stream:
            for place in range(0, file.size, PIECE):
                with reading(file.url, "check the address"):
                    data = reader.fetch(file, place, min(place + PIECE, file.size))
                stream.write(data)

    return _kept_index([file], fetch, file.url)


def _read_index(folder: str, files: Sequence[RemoteFile], reader: RemoteReader) -> ShardIndex:
    def scan(path: Path) -> None:
        warn_of_scan(folder, len(files))
        shown = tqdm(files, "reading", unit="shard", disable=None, delay=2.0)
        write_index(path.parent, (_indexed(file, reader) for file in shown), path.name)

    return replace(_kept_index(files, scan), place=None)


def _kept_index(files: Sequence[RemoteFile], make: Callable[[Path], None], url: str = "") -> ShardIndex:
    """An index in the user's cache, which one process of the machine makes."""
    said = "\n".join(f"{file.url} {file.size} {file.version}" for file in files)
    path = cache_folder() / "indexed" / f"{hashlib.sha256(os.fsencode(said)).hexdigest()[:32]}.xfm"
    with writing(path, "or set XFM_CACHE to another folder"), in_turn(path):
        with contextlib.suppress(UserError):
            return open_index(path, url)
        make(path)
        return open_index(path, url)


def _indexed(file: RemoteFile, reader: RemoteReader) -> IndexedShard:
    @lru_cache(maxsize=2)
    def piece(number: int) -> bytes:
        start = number * PIECE
        return reader.read(file, start, min(PIECE, file.size - start))

    def read(place: int, size: int) -> bytes:
        last = (min(place + size, file.size) - 1) // PIECE
        pieces = b"".join(map(piece, range(place // PIECE, last + 1)))
        return pieces[place % PIECE : place % PIECE + size]

    with reading(file.url, "check the address"):
        spans = spans_of(file.url, members_of(file.url, read, file.size))
        sample = digest_of_samples(file.size, lambda place, size: reader.read(file, place, size))
    return IndexedShard(file.url.rpartition("/")[2], file.size, 0, sample, spans)
