"""Rows to answer, one after the other: a table of any length, or a folder of pictures."""

import mimetypes
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from xfm.config.tables import LISTED, table_kind
from xfm.config.task_spec import Field, Holds
from xfm.core.errors import UserError, printable
from xfm.data.folders import Scan, scan_folder
from xfm.data.pictures import PICTURE_SUFFIXES, PictureError, picture_size, read_picture
from xfm.data.records import Limits
from xfm.data.tables import InMemory, open_table
from xfm.data.tables.columns import listed
from xfm.data.tables.json_list import Line, json_row, numbered_lines
from xfm.data.tables.objects import beginning
from xfm.data.tables.records import RawRow
from xfm.data.tables.table import TableParts, part_starts
from xfm.inference.input_parsing import example
from xfm.inference.predict.reading import CutRows, InputRow, Reading, RowSource, known_head, known_path


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


class OneRow(RowSource):
    """One input; its number is 1.

    Args:
        given: its fields.
    """

    total = 1

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The row, unless it is answered."""
        if after < 1:
            yield InputRow(1, "", self.given, {}, 1)

    def known_by(self) -> dict[str, Any]:
        """The input itself."""
        return {"given": dict(self.given)}

    @property
    def files(self) -> list[Path]:
        """Files that the input may name."""
        return [Path(value) for value in self.given.values() if isinstance(value, str) and "\0" not in value]


def is_picture_file(path: Path) -> bool:
    """Whether a file is a picture by its name or by what it holds."""
    if (mimetypes.guess_type(path.name)[0] or "").startswith("image/"):
        return True
    try:
        picture_size(read_picture(path))
    except PictureError:
        return False
    return True


def alone(fields: Sequence[Field]) -> list[Field]:
    """The fields of which one can be an input by itself."""
    required = [field for field in fields if not field.optional]
    return [field for field in required or fields if len(required) < 2 and not field.parts]


class StandardInput(RowSource):
    """JSON lines, or lines that are the only field of an input; the first line tells which of the two.

    A row's number is its line.

    Args:
        file: standard input.
        reading: how rows are read; paths of pictures start from the working folder.

    Attributes:
        form: what is read, in words.
        plain: the field that a line is; None of JSON lines.

    Raises:
        UserError: there are no rows, or none of the two forms fits.
    """

    name = Path("standard input")

    def __init__(self, file: BinaryIO, reading: Reading) -> None:
        reading.columns.check_fields(reading.fields)
        self.reading = reading
        self._rest = numbered_lines(file)
        self._head = list(islice(self._rest, 1))
        if not self._head:
            raise UserError(f"{self.name} holds no rows; give {example(reading.fields)}, one a line")
        if self._head[0].too_long:  # it may have no end, as /dev/zero
            limit = Limits().annotation_bytes >> 20
            raise UserError(f"{self.name}: the first line is longer than {limit} MiB; give one input a line")
        self._head += islice(self._rest, 1)
        is_json = self._head[0].data.lstrip(b"\xef\xbb\xbf \t").startswith(b"{")
        fitting = [] if is_json else alone(reading.fields)
        if not is_json and not fitting:
            raise UserError(f"{self.name}: give JSON lines such as {example(reading.fields)}")
        self.plain = fitting[0] if fitting else None
        kind = "JSON lines"
        if self.plain is not None:
            what = "lines of text" if self.plain.holds is Holds.TEXT else "paths of pictures"
            kind = f"{what}, one input a line"
        self.form = kind

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows on lines beyond `after`, as they come."""
        for line in chain(self._head, self._rest):
            if line.number > after:
                yield self.reading.row(self.name, self._raw(line))

    def _raw(self, line: Line) -> RawRow:
        if self.plain is None:
            return json_row(line)
        try:
            cells, flaw = {self.plain.name: line.text().strip("\r\n")}, None
        except UnicodeDecodeError:
            cells, flaw = {}, "the line is not UTF-8; mend it"
        if line.too_long:
            flaw = "the line is longer than any row may be; mend it"
        return RawRow(line.number, cells, line.read, flaw)

    def known_by(self) -> dict[str, Any]:
        """The first two rows, as of a file."""
        return known_head(str(self.name), b"".join(line.data for line in self._head))
