"""The index of shards at an address: that which lies beside them, or one that is made by reading them."""

import contextlib
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace

from tqdm import tqdm

from xfm.data.sources.base import digest_of_samples
from xfm.data.sources.remote import PIECE, RemoteReader
from xfm.data.sources.scanned import cached_index, index_place, warn_of_scan
from xfm.data.sources.shard_index import IndexedShard, ShardIndex, open_index
from xfm.data.sources.stores import RemoteFile
from xfm.data.sources.tar import members_of, spans_of
from xfm.errors import UserError
from xfm.files import replacing, writing
from xfm.locks import in_turn

_REMEDY = "or set XFM_CACHE to another folder"


def fetched_index(file: RemoteFile, reader: RemoteReader) -> ShardIndex:
    """The index at an address, fetched whole to the cache of this machine: 48 bytes a record.

    Raises:
        UserError: it is damaged, was changed meanwhile, or the store does not answer.
    """
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


def read_index(folder: str, files: Sequence[RemoteFile], reader: RemoteReader) -> ShardIndex:
    """The index of shards without one: all of them are read once on a machine, and it is kept in the cache.

    Raises:
        UserError: one is truncated, no tar, gone or was changed meanwhile; the store does not answer, or the
            cache cannot be written.
    """

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
    """What stands for the time of a shard: it changes with its version."""
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
