"""The bytes of a table's file, expanded where they are packed, and no more of them than anybody writes."""

import gzip
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xfm.config.table_kinds import PACKED
from xfm.data.tables.records import size_of, unreadable
from xfm.errors import UserError
from xfm.files import open_regular

FREE = 8 << 20
"""Bytes that any packed file may expand to."""
RATIO = 100
"""How many times its own size a larger one may: texts become some ten times smaller, zeros a thousand."""


def is_packed(path: Path) -> bool:
    """Whether the file is expanded while it is read."""
    return path.suffix.lower() == PACKED


@contextmanager
def open_stored(path: Path) -> Iterator["io.BufferedReader[Any]"]:
    """The file, open for reading from its beginning.

    Raises:
        UserError: it is missing, no file, damaged, or expands to more than will be read.
    """
    with unreadable(path), open_regular(path) as file:
        if not is_packed(path):
            yield file
            return
        with gzip.GzipFile(fileobj=file) as packed, io.BufferedReader(_Expanded(path, packed)) as stream:
            yield stream


def stored_size(path: Path) -> int | None:
    """Bytes that will be read of the file, None where nobody knows before.

    Raises:
        UserError: the file is missing or no file.
    """
    size = size_of(path)
    return None if is_packed(path) else size


class _Expanded(io.RawIOBase):
    """What a packed file expands to, as far as that is believed."""

    def __init__(self, path: Path, packed: gzip.GzipFile) -> None:
        self._path, self._packed, self._read = path, packed, 0
        self._most = max(FREE, RATIO * path.stat().st_size)

    def readable(self) -> bool:
        """It can be read, once, from its beginning on."""
        return True

    def readinto(self, buffer: "memoryview[int] | bytearray") -> int:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Read on."""
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
