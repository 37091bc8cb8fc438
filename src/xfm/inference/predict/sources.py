"""Rows to answer, one after the other: a table of any length, or a folder of pictures."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from xfm.config.table_kinds import LISTED, table_kind
from xfm.config.task_spec import Holds
from xfm.data.folders import Scan, scan_folder
from xfm.data.pictures import PICTURE_SUFFIXES
from xfm.data.tables import InMemory, open_table
from xfm.data.tables.columns import listed
from xfm.data.tables.objects import beginning
from xfm.data.tables.parts import TableParts, part_starts
from xfm.errors import UserError, printable
from xfm.inference.predict.reading import CutRows, InputRow, Reading, known_path


def open_rows(path: Path | InMemory, reading: Reading) -> CutRows:
    """The rows of a table, of a file or in memory, or of a folder.

    Raises:
        UserError: there is no such file or folder, it is of an unknown kind, or lacks a column.
    """
    reading.columns.check_fields(reading.fields)
    if isinstance(path, InMemory):
        return TableRows(path, reading)
    if os.path.isdir(path):  # of a name that is too long, `Path.is_dir` raises
        return FolderRows(path, reading)
    if table_kind(path) is not None:
        return TableRows(path, reading)
    if not os.path.lexists(path):
        raise UserError(f"{path} does not exist; check the path")
    raise UserError(f"{path} is neither a folder of pictures nor a file of {LISTED}; rename or convert it")


class TableRows(CutRows):
    """The rows of a file or in memory, told by their numbers."""

    def __init__(self, source: Path | InMemory, reading: Reading) -> None:
        path = Path(str(source))
        self.path, self.reading, self._table = path, reading, open_table(source)
        self._memory = source if isinstance(source, InMemory) else None
        self.total, self.unit = self._table.size, self._table.unit
        self._parts = TableParts(self._table, reading.columns_read(self._table.columns or ()))
        if self._table.columns is not None:
            reading.check_columns(self._table.columns, path)

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows beyond `after`."""
        # Rows of JSON need not have the same columns.
        missing = dict.fromkeys(self.reading.keep if self._table.columns is None else ())
        found = False
        for raw in self._table.rows(self.reading.columns_read(self._table.columns or ())):
            if raw.number > after:
                row, found = self.reading.row(self.path, raw, self._memory is not None), True
                for name in [name for name in missing if row.kept.get(name) is not None]:
                    del missing[name]
                yield row
        if found and missing:
            note = f"no row has {listed(list(missing))}, which --keep names: it is null in every answer"
            print(f"Note: {printable(note)}", file=sys.stderr)

    def starts(self, size: int) -> tuple[list[int], int]:
        """See `CutRows.starts`; the whole table is read once."""
        return part_starts(self._table.rows(frozenset()), size)

    def part(self, first: int, last: int | None) -> Iterator[InputRow]:
        """See `CutRows.part`."""
        for raw in self._parts.part(first, last):
            yield self.reading.row(self.path, raw, self._memory is not None)

    def known_by(self) -> dict[str, Any]:
        """The file's name and first lines, or the first rows in memory."""
        return known_path(self.path) if self._memory is None else {"begins": beginning(self._memory)}


class FolderRows(CutRows):
    """The pictures of a folder and the folders below it, in the order of their paths.

    Rows are told by their names, so that pictures may be added between two runs.

    Attributes:
        names: of the pictures.
        report: what else the folder holds.

    Args:
        path: of the folder.
        reading: how its rows are read.
        names: of its pictures, where they are known.
    """

    def __init__(self, path: Path, reading: Reading, names: Sequence[str] | None = None) -> None:
        self.path = path
        needed = [one for one in reading.fields if not one.optional and one.holds is not Holds.PICTURE]
        pictures = [one for one in reading.fields if one.holds is Holds.PICTURE]
        if needed or not pictures:
            lacking = needed[0] if needed else reading.fields[0]
            raise UserError(
                f"{path} is a folder of pictures, and the task also needs {lacking.holds.value} "
                f"({lacking.name}); write a JSON-lines file with both"
            )
        self.field = pictures[0].name
        if reading.keep or reading.columns.columns:
            option = "--keep" if reading.keep else "--columns"
            raise UserError(f"{path} is a folder of pictures, which has no columns; leave out {option}")
        scan = scan_folder(path) if names is None else Scan([*names])
        self.names, self.report = scan.pictures, scan.report(path)
        if not self.names:
            kinds = ", ".join(sorted(PICTURE_SUFFIXES))
            said = f"; {self.report.sentence}" if self.report else ""
            raise UserError(f"{path} holds no pictures ({kinds}){said}; check the path")
        self.total = len(self.names)

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The pictures that are not done yet."""
        for number, name in enumerate(self.names, start=1):
            if name not in done:
                yield self._row(number, name)

    def starts(self, size: int) -> tuple[list[int], int]:
        """See `CutRows.starts`."""
        return [*range(1, len(self.names) + 1, size)], len(self.names)

    def part(self, first: int, last: int | None) -> Iterator[InputRow]:
        """See `CutRows.part`."""
        for number in range(first, len(self.names) + 1 if last is None else last):
            yield self._row(number, self.names[number - 1])

    def _row(self, number: int, name: str) -> InputRow:
        path = self.path / name
        return InputRow(number, str(path), {self.field: path}, {"image": name}, number)

    def known_by(self) -> dict[str, Any]:
        """The folder."""
        return known_path(self.path)
