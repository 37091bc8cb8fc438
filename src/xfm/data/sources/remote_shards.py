"""Shards in object stores and on web servers, with the index beside them or one made by reading them."""

import contextlib
import hashlib
import re
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fnmatch import translate
from glob import has_magic
from typing import ClassVar
from urllib.parse import urlsplit
from weakref import WeakValueDictionary

from tqdm import tqdm

from xfm.config.data import RemoteConfig
from xfm.core.errors import UserError
from xfm.core.files import replacing, writing
from xfm.core.locks import in_turn
from xfm.core.paths import SECRET, holds_secret
from xfm.data.sources.base import RANGE, StaleError, check_numbers, check_ranges, digest_of_samples, expanded
from xfm.data.sources.remote import PIECE, RemoteReader, reader_of
from xfm.data.sources.scanned import cached_index, index_place, warn_of_scan
from xfm.data.sources.shard_index import COMMAND, INDEX, IndexedShard, ShardIndex, ShardTable, open_index
from xfm.data.sources.stores import RefusedError, RemoteFile, asked, store_of
from xfm.data.sources.tar import members_of, spans_of

TAR = ".tar"
_LOOKED_AT = 1000
"""So many shards of a server that lists none are looked at as soon as they are opened."""
_TOGETHER = 16
_REMEDY = "or set XFM_CACHE to another folder"


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

    def file(self, table: ShardTable, shard: int) -> RemoteFile:
        """See `LocalShards.file`; the size alone is compared with the index, lest all be fetched."""
        name, size = table.names[shard], int(table.sizes[shard])
        file = self.files.get(name) or self.reader.find(self.name(name))
        self.files[name] = file  # that version, from now on
        if file.size != size:
            raise StaleError(f"it has {file.size} bytes and was indexed with {size}; {self.remedy}")
        return file

    def read(self, file: RemoteFile, offset: int, size: int) -> bytes:
        """See `LocalShards.read`."""
        return self.reader.read(file, offset, size)

    def expect(self, file: RemoteFile, offset: int, size: int) -> None:
        """See `LocalShards.expect`."""
        self.reader.expect(file, offset, size)


_open: WeakValueDictionary[tuple[str, RemoteConfig], RemoteShards] = WeakValueDictionary()
"""What is in use: streams and phases of a run read the same shards, in the same version."""


def remote_shards(address: str, settings: RemoteConfig) -> RemoteShards:
    """The shards of an address: one, a pattern, a numbered range, or all of a folder. A web server lists no
    files, so that patterns and folders need an index there. Raises UserError where a shard is missing, the
    index is damaged, or the store does not answer."""
    if (found := _open.get((address, settings))) is None:
        try:
            found = _opened(address, settings)
        except OSError as error:
            raise UserError(f"{address}: cannot be read ({error.strerror or error}); check it") from error
        _open[address, settings] = found
    return found


def _opened(address: str, settings: RemoteConfig) -> RemoteShards:
    folder, last = _parted(address)
    reader = reader_of(settings)
    if not store_of(address).lists:
        return _of_server(address, folder, last, reader)
    listed = asked(folder, lambda store: store.folder(folder), settings.patience)
    index = _fetched_index(listed[INDEX], reader) if INDEX in listed else None
    names = _named(last, [name for name in listed if name.endswith(TAR)])
    wanted = {*names, *(_named(last, index.table.names) if index else ()), *_spelt(last)}
    if gone := wanted.difference(listed):
        raise UserError(
            f"{folder}/{min(gone)}: the shard is missing; upload it (again), or check the address"
        )
    if not names:
        raise UserError(
            f"{address}: no shards there; check the address, or upload some (`xfm prepare` makes them)"
        )
    if index is None and not _spelt(last):
        check_numbers(address, names)
    files = {name: listed[name] for name in names}
    return RemoteShards(folder, names, index or _read_index(folder, [*files.values()], reader), files, reader)


def _of_server(address: str, folder: str, last: str, reader: RemoteReader) -> RemoteShards:
    try:
        index = _fetched_index(reader.find(f"{folder}/{INDEX}"), reader)
    except (FileNotFoundError, RefusedError):  # some servers say neither what is there nor what is not
        index = None
    names = _spelt(last) or _named(last, index.table.names if index else ())
    if not names and index is None:
        raise UserError(
            f"{address}: a web server does not list its files, and there is no {INDEX} beside them; give "
            f"a numbered range (part-{{00000..00012}}{TAR}), or upload what `{COMMAND} FOLDER` writes"
        )
    if not names:
        raise UserError(f"{address}: {folder}/{INDEX} has no such shard; check the address")
    files = {}
    if index is None or len(names) <= _LOOKED_AT:
        with ThreadPoolExecutor(_TOGETHER) as pool:
            found = pool.map(lambda name: _found(f"{folder}/{name}", reader), names)
            files = dict(zip(names, found, strict=True))
    return RemoteShards(folder, names, index or _read_index(folder, [*files.values()], reader), files, reader)


def _found(url: str, reader: RemoteReader) -> RemoteFile:
    try:
        return reader.find(url)
    except OSError as error:
        raise UserError(f"{url}: the shard cannot be read ({error.strerror}); check the address") from error


def _spelt(last: str) -> list[str]:
    return [] if has_magic(last) else expanded(last)


def _named(last: str, known: Sequence[str]) -> list[str]:
    names = expanded(last)
    if not has_magic(last):
        return sorted({*names}.intersection(known))
    fits = re.compile("|".join(translate(name) for name in names)).match
    return sorted(name for name in known if fits(name))


def _check(address: str) -> None:
    try:
        urlsplit(address)
    except ValueError as error:  # `http://[`
        raise UserError(f"{address}: that is no address ({error}); check it") from None


def _parted(address: str) -> tuple[str, str]:
    if holds_secret(address):
        raise UserError(f"{address.partition('://')[0]}://...: {SECRET}")
    _check(address)
    folder, _, last = address.rpartition("/")
    if last.endswith(TAR):
        if RANGE.search(folder) or has_magic(folder.partition("://")[2]):
            raise UserError(f"{address}: a pattern may stand in the names of shards only, behind the last /")
        check_ranges(last)
        return folder, last
    if re.search(r"\.(jsonl?|parquet|csv|tgz|gz|zip)$", last):
        raise UserError(f"{address}: of addresses, {TAR} shards are read; `xfm prepare` makes them")
    return address.rstrip("/"), f"*{TAR}"


# ---------------------------------------------------------------- the index
def _fetched_index(file: RemoteFile, reader: RemoteReader) -> ShardIndex:
    path = index_place(file.url, str(file.size), file.version)
    with writing(path, _REMEDY), in_turn(path):
        if not path.exists():
            bar = tqdm(None, "fetching", file.size, unit="B", unit_scale=True, disable=None, delay=2.0)
            with bar, replacing(path) as stream:
                for place in range(0, file.size, PIECE):
                    with _told(file):
                        bar.update(stream.write(reader.fetch(file, place, min(place + PIECE, file.size))))
    try:
        return replace(open_index(path), place=file.url)
    except UserError as error:
        path.unlink(missing_ok=True)
        said = str(error).replace(str(path), file.url).replace(str(path.parent), "FOLDER")
        raise UserError(f"{said}, and upload it") from error


@contextlib.contextmanager
def _told(file: RemoteFile) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise UserError(f"{file.url}: cannot be read ({error.strerror}); check the address") from error


def _read_index(folder: str, files: Sequence[RemoteFile], reader: RemoteReader) -> ShardIndex:
    def scan() -> Iterator[IndexedShard]:
        warn_of_scan(folder, len(files))
        shown = tqdm(files, "reading", unit="shard", disable=None, delay=2.0)
        return (_indexed(file, reader) for file in shown)

    path = index_place(*(file.url for file in files))
    with writing(path, _REMEDY):
        return cached_index(path, [(_name(file), file.size, _stamp(file)) for file in files], scan)


def _name(file: RemoteFile) -> str:
    return file.url.rpartition("/")[2]


def _stamp(file: RemoteFile) -> int:
    return int.from_bytes(hashlib.sha256(file.version.encode()).digest()[:8], "little", signed=True)


def _indexed(file: RemoteFile, reader: RemoteReader) -> IndexedShard:
    with _told(file):
        spans = spans_of(file.url, members_of(file.url, _Pieces(file, reader), file.size))
        sample = digest_of_samples(file.size, lambda place, size: reader.read(file, place, size))
    return IndexedShard(_name(file), file.size, _stamp(file), sample, bytes(32), spans)


class _Pieces:
    def __init__(self, file: RemoteFile, reader: RemoteReader) -> None:
        self._file, self._reader = file, reader
        self._start, self._data = 0, b""

    def __getitem__(self, part: slice, /) -> bytes:
        start, stop = part.start, min(part.stop, self._file.size)
        if not self._start <= start <= stop <= self._start + len(self._data):
            self._start = start // PIECE * PIECE
            end = min(max(stop, self._start + PIECE), self._file.size)
            self._data = self._reader.read(self._file, self._start, end - self._start)
        return self._data[start - self._start : stop - self._start]
