"""Rows of task files (JSON lines) that know where they stand."""

import errno
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

from xfm.data.records import Limits, check_box, is_text
from xfm.errors import UserError
from xfm.files import path_below

T = TypeVar("T")

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Row(Mapping[str, Any]):
    """One row of a task file: a mapping of its fields that knows where it stands.

    The typed getters raise UserError, naming file, row and field, when a value has another type.

    Attributes:
        fields: the fields.
        file: the JSON-lines file.
        number: line number from 1.
    """

    fields: Mapping[str, Any]
    file: Path
    number: int

    def __getitem__(self, field: str) -> Any:
        return self.fields[field]

    def __iter__(self) -> Iterator[str]:
        return iter(self.fields)

    def __len__(self) -> int:
        return len(self.fields)

    def error(self, field: str, problem: str) -> UserError:
        """A UserError about one field of this row."""
        return UserError(f'{self.file}:{self.number}: the field "{field}" {problem}; mend the row.')

    def text(self, field: str) -> str:
        """A string that is not blank."""
        value = self.fields.get(field)
        if not isinstance(value, str) or not value.strip():
            raise self.error(field, "is missing, empty or not a string")
        if not is_text(value):
            raise self.error(field, "is not Unicode")
        return value

    def texts(self, field: str) -> list[str]:
        """A list of at least one string."""
        value = self.fields.get(field)
        if not isinstance(value, list) or not value or not all(is_text(v) and v.strip() for v in value):
            raise self.error(field, "is not a list of strings")
        return value

    def flag(self, field: str) -> bool:
        """True or false."""
        value = self.fields.get(field)
        if not isinstance(value, bool):
            raise self.error(field, "is not true or false")
        return value

    def path(self, field: str) -> Path:
        """A file, relative to the folder of the JSON-lines file and at most one folder above it.

        So the folders of several tasks share a folder of pictures beside them.
        """
        return self._below(field, self.text(field))

    def paths(self, field: str) -> list[Path]:
        """Files, each as `path` has it."""
        return [self._below(field, name) for name in self.texts(field)]

    def _below(self, field: str, name: str) -> Path:
        folder = self.file.parent
        path = path_below(folder, name, within=folder / "..")
        if path is None:
            raise self.error(field, "is not a path below the folder above the file's")
        return path

    def box(self, field: str, width: int, height: int) -> tuple[float, float, float, float]:
        """A box [left, top, width, height] in pixels, inside a picture of `width` x `height` pixels."""
        try:
            return check_box(self.fields.get(field), width, height)
        except ValueError as error:
            raise self.error(field, str(error)) from None


def read_rows(path: Path | str, required: Sequence[str] = ()) -> list[Row]:
    """The rows of a JSON-lines file; blank lines are left out.

    Args:
        path: the file.
        required: fields that every row must have.

    Raises:
        UserError: when the file is missing or empty, or a row is not a JSON object or lacks a field.
    """
    rows = list(iterate_rows(Path(path), required))
    if not rows:
        raise UserError(f"{path}: the file holds no rows; check the path or prepare it again.")
    return rows


def iterate_rows(path: Path, required: Sequence[str] = ()) -> Iterator[Row]:
    """The rows of a JSON-lines file one by one, as `read_rows` has them."""
    try:
        for number, line in enumerate(_lines(path), start=1):
            text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            if text.strip():
                yield _row(path, number, text, required)
    except OSError as error:
        raise UserError(f"{path}: cannot read the file ({error.strerror}); check the path.") from error
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: the file is not UTF-8 ({error.reason}); save it as UTF-8.") from error


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a regular file (a pipe would block), as long as a row may be."""
    if not path.is_file():
        raise FileNotFoundError(errno.ENOENT, "it is missing or not a file")
    limit = Limits().annotation_bytes
    with path.open("rb") as file:
        for number in count(1):
            line = file.readline(limit + 1)
            if len(line) > limit:
                raise UserError(f"{path}:{number}: the row has more than {limit} bytes; mend the row.")
            if not line:
                return
            yield line


def _row(path: Path, number: int, line: str, required: Sequence[str]) -> Row:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path}:{number}: the row is not valid JSON ({error}); mend the row.") from None
    if not isinstance(values, dict):
        raise UserError(f"{path}:{number}: the row is not a JSON object; mend the row.")
    row = Row(values, path, number)
    for field in required:
        if field not in values:
            raise row.error(field, "is missing")
    return row
