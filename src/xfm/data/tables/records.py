"""What every reader of tables gives, how it says that a file cannot be read, and pictures in cells."""

import gzip
import hashlib
import io
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from xfm.config.tables import PACKED
from xfm.core.errors import UserError, excerpt, first_line
from xfm.core.files import open_regular, write_data, writing
from xfm.data.images import DecodedImage, byte_limit, image_suffix, to_png, to_uint8, too_many_bytes
from xfm.data.sources.base import StoredFile


class TooLargeError(ValueError):
    """A cell is larger than any that is used; the message continues a sentence whose subject is the cell."""


@dataclass(frozen=True)
class RawRow:
    """A row: line or place from 1, cells by column, bytes (or rows) read up to its end, why it is none."""

    number: int
    cells: Mapping[str, Any] = field(default_factory=dict)
    read: int = 0
    flaw: str | None = None

    def checked(self, source: Path | str) -> Mapping[str, Any]:
        """The cells; raises UserError with file and row where it is no row."""
        if self.flaw is not None:
            raise UserError(f"{source}:{self.number}: {self.flaw}")
        return self.cells


@dataclass(frozen=True)
class Records:
    """An open table: column names (None where each row has its own), a reader of rows with some columns, the
    size in units of `RawRow.read`, a folder's report, and whether cells are typed (CSV has texts)."""

    columns: tuple[str, ...] | None
    rows: Callable[[frozenset[str]], Iterator[RawRow]]
    size: int | None = None
    unit: str = "row"
    report: str = ""
    typed: bool = True


@contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Turn what keeps a file from being read into one UserError."""
    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise UserError(f"{path} is not a file; give the path of a table")
        yield
    except OSError as error:
        if error.errno is None:  # a library's: the system could read the file, the library could not
            raise UserError(f"{path}: the file is damaged ({first_line(error)}); copy it again") from error
        raise UserError(f"{path}: cannot read the file ({error.strerror or error}); check it") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the file is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except ValueError as error:  # a NUL in the path
        raise UserError(f"{path}: cannot read the file ({error}); check the path") from error


def refuse_double_columns(table: object, names: Iterable[str]) -> None:
    """Raise UserError where two columns have one name."""
    if twice := sorted(name for name, count in Counter(names).items() if name and count > 1):
        raise UserError(f"{table}: the column {excerpt(twice[0])!r} is there twice; rename one of them")


def named_row(number: int, cells: Mapping[str, Any], classes: Mapping[str, list[str]]) -> RawRow:
    """A row with class numbers replaced by their names; -1 stands for no class."""
    found = dict(cells)
    for name, value in cells.items():
        if isinstance(value, TooLargeError):
            flaw = f'the column "{name}" {value}; shrink it, or leave out the row'
            return RawRow(number, read=number, flaw=flaw)
        names = classes.get(name)
        if names is None or not isinstance(value, int) or isinstance(value, bool):
            continue
        if not -1 <= value < len(names):
            flaw = f'the column "{name}" is {value}, but there are {len(names)} classes; mend the row'
            return RawRow(number, read=number, flaw=flaw)
        found[name] = None if value == -1 else names[value]
    return RawRow(number, found, number)


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
    """The file, expanded (`ahead`: once before, so that damage is known at once). Raises UserError."""
    with unreadable(path), open_regular(path) as file:
        if not is_packed(path):
            yield file
            return
        if ahead:
            _expanded_size(StoredFile.of(path))
        with gzip.GzipFile(fileobj=file) as packed, io.BufferedReader(_GunzippedFile(path, packed)) as stream:
            yield stream


def stored_size(path: Path) -> int:
    """Expanded bytes of the file; raises UserError as `open_stored`."""
    with unreadable(path):
        packed = is_packed(path) and path.is_file()
        return _expanded_size(StoredFile.of(path)) if packed else path.stat().st_size


@lru_cache(maxsize=256)
def _expanded_size(file: StoredFile) -> int:
    with open_stored(file.path, ahead=False) as stream:
        return sum(map(len, iter(partial(stream.read, _PIECE), b"")))


class _GunzippedFile(io.RawIOBase):
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
            more = f"{self._most} bytes, {RATIO} times its own size or more"
            raise UserError(f"{self._path} expands to more than {more}; unpack it yourself if you know it")
        buffer[: len(data)] = data
        return len(data)


@dataclass(frozen=True)
class BadImage:
    """Stands in a cell for a picture that no one can use."""

    reason: str


def images_in(cell: Any) -> Any:
    """A cell, or each of a list, with its bytes or path in place of the hub's `{"bytes": .., "path": ..}`."""
    if isinstance(cell, list):
        return [one if isinstance(one, list) else images_in(one) for one in cell]
    if isinstance(cell, Mapping) and cell and {"bytes", "path"} >= cell.keys():
        return cell.get("bytes") or cell.get("path")
    return cell


def stored_images(cell: Any, folder: Path) -> Any:
    """A cell, or each of a list, with a path (or `BadImage`) for an image, written by its digest."""
    if isinstance(cell, list):
        return [one if isinstance(one, list) else stored_images(one, folder) for one in cell]
    if isinstance(cell, DecodedImage):
        try:
            cell = to_png(to_uint8(cell))
        except UserError as error:
            return BadImage(f"holds a picture that cannot be used: {error}")
    if not isinstance(cell, bytes):
        return cell
    if len(cell) > (limit := byte_limit()):
        return BadImage(too_many_bytes(len(cell), limit))
    path = folder.absolute() / (hashlib.sha256(cell).hexdigest()[:32] + image_suffix(cell))
    if not path.exists():
        with writing(path, "or choose another folder"):
            folder.mkdir(parents=True, exist_ok=True)
            write_data(path, cell, lasting=False)
    return path
