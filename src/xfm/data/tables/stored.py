"""The bytes of a table's file, expanded where they are packed, and no more of them than anybody writes."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

from xfm.config.tables import PACKED
from xfm.core.errors import UserError
from xfm.core.files import open_regular
from xfm.data.sources.base import StoredFile
from xfm.data.tables.records import size_of, unreadable

FREE = 8 << 20
"""Bytes that any packed file may expand to."""
RATIO = 100
"""How many times its own size a larger one may: texts become some ten times smaller, zeros a thousand."""
_PIECE = 1 << 20


def is_packed(path: Path) -> bool:
    """Whether the file is expanded while it is read."""
    return path.suffix.lower() == PACKED


@contextmanager
def open_stored(path: Path, ahead: bool = True) -> Iterator["io.BufferedReader[Any]"]:
    """The file, expanded, open for reading; with `ahead` all of it is expanded once before, so that damage is
    known at once. Raises UserError where it is missing, damaged, or expands to more than will be read."""
    with unreadable(path), open_regular(path) as file:
        if not is_packed(path):
            yield file
            return
        if ahead:
            _expanded_size(StoredFile.of(path))
        with _opened(path, file) as stream:
            yield stream


def stored_size(path: Path) -> int:
    """Expanded bytes of the file; raises UserError as `open_stored`."""
    with unreadable(path):
        return _expanded_size(StoredFile.of(path)) if is_packed(path) and path.is_file() else size_of(path)


@lru_cache(maxsize=256)
def _expanded_size(file: StoredFile) -> int:
    size = 0
    with unreadable(file.path), open_regular(file.path) as packed, _opened(file.path, packed) as stream:
        while data := stream.read(_PIECE):
            size += len(data)
    return size


@contextmanager
def _opened(path: Path, file: io.BufferedReader) -> Iterator["io.BufferedReader[Any]"]:
    with gzip.GzipFile(fileobj=file) as packed, io.BufferedReader(_Expanded(path, packed)) as stream:
        yield stream


class _Expanded(io.RawIOBase):
    def __init__(self, path: Path, packed: gzip.GzipFile) -> None:
        self._path, self._packed, self._read = path, packed, 0
        self._most = max(FREE, RATIO * path.stat().st_size)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        try:
            data = self._packed.read(len(buffer))
        except (EOFError, zlib.error) as error:
            raise OSError(str(error)) from error
        self._read += len(data)
        if self._read > self._most:
            raise UserError(
                f"{self._path} expands to more than {self._most} bytes, {RATIO} times its own size or more, "
                "which no table does; unpack it yourself if you know it"
            )
        buffer[: len(data)] = data
        return len(data)
