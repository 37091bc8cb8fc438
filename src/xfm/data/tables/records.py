"""What every reader of tables gives, and how it says that a file cannot be read."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xfm.data.folders import FolderReport
from xfm.errors import UserError, first_line


@dataclass(frozen=True)
class Records:
    """Raw rows of a table.

    Attributes:
        columns: names of the columns; None where each row has its own.
        rows: number of each row, as messages name it, and its cells by column.
        report: what a folder holds besides its rows, None where there is nothing to say.
    """

    columns: tuple[str, ...] | None
    rows: Iterator[tuple[int, Mapping[str, Any]]]
    report: FolderReport | None = None


@contextlib.contextmanager
def unreadable(path: Path) -> Iterator[None]:
    """Turn what keeps a file from being read into one sentence.

    Raises:
        UserError: the file is missing, no file, damaged or not UTF-8.
    """
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
