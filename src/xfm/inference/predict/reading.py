"""What a row to answer is, and how tables are read as such rows."""

import hashlib
import math
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.config.tables import sheet_of
from xfm.config.task_spec import Field, Holds
from xfm.core.errors import UserError
from xfm.core.paths import is_url
from xfm.data.pictures import Picture as DecodedPicture
from xfm.data.tables import ColumnMap, TableRow
from xfm.data.tables.columns import listed
from xfm.data.tables.records import RawRow, open_stored
from xfm.inference.input_parsing import Unreadable

_HEAD = 1 << 16
"""Most bytes of a line by which a file is known again."""


@dataclass(frozen=True)
class InputRow:
    """A row to answer.

    Attributes:
        number: which one; numbers rise. Lines of a file count from 1, where a row begins.
        place: file and row, as messages name them.
        given: what the pipeline takes, or why there is nothing that it could take.
        kept: what is copied into the line of the answer.
        read: bytes (of folders and Parquet: rows) up to its end, for a progress bar.
    """

    number: int
    place: str
    given: Mapping[str, Any] | Unreadable
    kept: Mapping[str, Any]
    read: int

    def says(self, reason: str) -> str:
        """What is wrong with the row, behind its place; an input of the command line stands nowhere."""
        return f"{self.place}: {reason}" if self.place else reason


@dataclass(frozen=True)
class Reading:
    """How a table is read.

    Attributes:
        fields: what the task takes.
        columns: what they are called.
        keep: columns that are copied into the answers.
        root: folder that paths of pictures start from; the table's own if None.
        urls: whether pictures may be addresses.
    """

    fields: Sequence[Field]
    columns: ColumnMap = field(default_factory=ColumnMap)
    keep: tuple[str, ...] = ()
    root: Path | None = None
    urls: bool = False

    def row(self, path: Path, raw: RawRow, free: bool = False) -> InputRow:
        """A row of a table, see `TableRow.free`; one that is none, or that lacks something, is unreadable."""
        place, kept = f"{path}:{raw.number}", {name: _json_value(raw.cells.get(name)) for name in self.keep}
        try:
            cells = raw.checked(path)
            self.columns.check_columns(self.fields, cells, place, others=True)
            names = self.columns.places(self.fields, cells)
            row = TableRow.picked(cells, path, raw.number, names, self.root, free)
            given = {one.name: self._value(one, row) for one in self.fields if self._is_there(one, row)}
        except UserError as error:
            given = Unreadable(str(error).removeprefix(f"{place}: "))
        return InputRow(raw.number, place, given, kept, raw.read)

    def columns_read(self, present: Sequence[str]) -> frozenset[str]:
        """The columns, of those that there are, that an answer may need; others need not be read."""
        return frozenset([*self.columns.places(self.fields, present).values(), *self.keep])

    def _is_there(self, one: Field, row: TableRow) -> bool:
        return not one.optional or any(map(row.has, (one.name, *one.parts)))

    def _value(self, one: Field, row: TableRow) -> Any:
        if one.holds is Holds.TEXT:
            return row.text(one.name)
        if one.holds is Holds.PICTURE:
            return self._picture(one.name, row)
        return [self._picture(one.name, alone) for alone in row.two(one)]

    def _picture(self, name: str, row: TableRow) -> Any:
        value = row.get(name)
        if isinstance(value, bytes | DecodedPicture):
            return value
        if isinstance(value, str) and is_url(value):
            if not self.urls:
                raise row.error(name, "is an address, and these are fetched with --allow-urls only")
            return value
        return row.path(name)

    def check_columns(self, present: Sequence[str], path: Path) -> None:
        """Refuse a table without a column that every row needs.

        Raises:
            UserError: names it, and how to name another.
        """
        self.columns.check_columns(self.fields, present, path)
        for name in self.keep:
            if name not in present:
                raise UserError(f"{path}: there is no column {name!r} to keep, only {listed(present)}")


class RowSource(ABC):
    """Rows in a fixed order.

    Attributes:
        total: length in the unit of `InputRow.read`, None where it is not known.
        unit: of a progress bar.
    """

    total: int | None = None
    unit: str = "row"

    @abstractmethod
    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows beyond a number, or of a folder those whose names are not among `done`.

        Raises:
            UserError: the file cannot be read on.
        """

    def known_by(self) -> dict[str, Any] | None:
        """What tells the rows from others; None where that is not known."""
        return None


class CutRows(RowSource):
    """Rows of which a part can be read by itself."""

    @abstractmethod
    def starts(self, size: int) -> tuple[list[int], int]:
        """Cut the rows into parts.

        Args:
            size: rows of a part; the last one may have fewer.

        Returns:
            The number of the first row of each part, and how many rows there are.
        """

    @abstractmethod
    def part(self, first: int, last: int | None) -> Iterator[InputRow]:
        """The rows from one number up to another, which is not among them; None is the end.

        Parts that are read one after the other cost one reading of the file.
        """


def known_path(path: Path) -> dict[str, Any]:
    """A folder's path, or a file's name and first two lines: it may grow, and bad rows may be mended."""
    if os.path.isdir(path):
        return {"folder": os.path.abspath(path)}
    with open_stored(sheet_of(path)[0]) as file:
        return known_head(path.name, file.readline(_HEAD) + file.readline(_HEAD))


def known_head(name: str, head: bytes) -> dict[str, Any]:
    """What tells a file from others: its name, and a digest of its first lines."""
    return {"file": name, "begins": hashlib.sha256(head).hexdigest()[:16]}


def _json_value(value: Any) -> Any:
    """A cell without NaN and infinities, which JSON does not have: they are empty, as in tables."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _json_value(one) for key, one in value.items()}
    return [*map(_json_value, value)] if isinstance(value, list | tuple) else value
