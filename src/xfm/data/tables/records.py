"""What every reader of tables gives, and how it says that a file cannot be read."""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError, first_line
from xfm.data.folders import FolderReport
from xfm.data.tables.arrow_cells import TooLargeError


@dataclass(frozen=True)
class RawRow:
    """A row in a table: its line or its place from 1, its cells by column, bytes of the file up to its end
    (characters of CSV, rows of Parquet), and why it is no row."""

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
    size in units of `RawRow.read`, a folder's report, and whether cells are typed (those of CSV are
    texts)."""

    columns: tuple[str, ...] | None
    rows: Callable[[frozenset[str]], Iterator[RawRow]]
    size: int | None = None
    unit: str = "row"
    report: FolderReport | None = None
    typed: bool = True


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Turn what keeps a file from being read into one UserError."""
    try:
        if path.exists() and not path.is_file():  # a pipe would block
            raise UserError(f"{path} is not a file; give the path of a table")
        yield
    except OSError as error:
        if error.errno is None:  # a library's: the system could read the file, the library could not
            raise UserError(f"{path}: the file is damaged ({first_line(error)}); copy it again") from error
        raise UserError(
            f"{path}: cannot read the file ({error.strerror or error}); check the path"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the file is not UTF-8 ({error.reason}); save it as UTF-8") from error
    except ValueError as error:  # a NUL in the path
        raise UserError(f"{path}: cannot read the file ({error}); check the path") from error


def size_of(path: Path) -> int:
    """Bytes of a file that is to be read; raises UserError."""
    with unreadable(path):
        return path.stat().st_size


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
