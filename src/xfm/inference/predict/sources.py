"""Rows to answer, one after the other: JSON lines, CSV, TSV or Parquet of any length, or a folder."""

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, BinaryIO

from xfm.config.task_spec import Holds
from xfm.data.folders import scan_folder
from xfm.data.pictures import PICTURE_SUFFIXES
from xfm.data.records import Limits
from xfm.data.tables.arrow_cells import require_cells
from xfm.data.tables.columns import listed
from xfm.data.tables.delimited import read_cells, read_header, wrong_width
from xfm.data.tables.parquet import read_parquet
from xfm.data.tables.records import unreadable
from xfm.errors import UserError, printable
from xfm.inference.items import Unreadable
from xfm.inference.predict.reading import InputRow, Reading, RowSource, known_path


def open_source(path: Path, reading: Reading) -> RowSource:
    """The rows of a table or a folder.

    Raises:
        UserError: there is no such file or folder, it is of an unknown kind, or lacks a column.
    """
    reading.check_fields()
    if os.path.isdir(path):  # of a name that is too long, `Path.is_dir` raises
        return FolderRows(path, reading)
    kind = _KINDS.get(path.suffix.lower())
    if kind is None and not os.path.lexists(path):
        raise UserError(f"{path} does not exist; check the path")
    if kind is None:
        raise UserError(
            f"{path} is neither a folder of pictures nor a file of {', '.join(TABLES)}; rename or convert it"
        )
    with unreadable(path):
        path.stat()
        return kind(path, reading)


class _TableRows(RowSource):
    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading
        self.total, self.unit = path.stat().st_size, "B"

    def known_by(self) -> dict[str, Any]:
        """The file's name and first lines."""
        return known_path(self.path)


class JsonRows(_TableRows):
    """JSON lines; a row's number is its line."""

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows on lines beyond `after`; blank lines are passed over."""
        missing = dict.fromkeys(self.reading.keep)  # rows of JSON need not have the same columns
        found = False
        with unreadable(self.path), self.path.open("rb") as file:
            for line in numbered_lines(file):
                if line.number > after:
                    row, found = json_row(self.reading, self.path, line), True
                    for name in [name for name in missing if row.kept.get(name) is not None]:
                        del missing[name]
                    yield row
        if found and missing:
            note = f"no row has {listed(list(missing))}, which --keep names: it is null in every answer"
            print(f"Note: {printable(note)}", file=sys.stderr)


@dataclass(frozen=True)
class Line:
    """A line that is not blank.

    Attributes:
        number: from 1, blank lines included.
        data: its bytes.
        read: bytes of the file up to its end.
        too_long: whether it is longer than any row may be, and cut.
    """

    number: int
    data: bytes
    read: int
    too_long: bool


def numbered_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines of a file that are not blank."""
    limit, read, number = Limits().annotation_bytes, 0, 0
    while line := file.readline(limit + 1):
        number += 1
        read += len(line)
        too_long = len(line) > limit and not line.endswith(b"\n")
        if too_long:
            read += _skip_line(file, limit)
        if line.strip():
            yield Line(number, line, read, too_long)


def json_row(reading: Reading, path: Path, line: Line) -> InputRow:
    """The row of a JSON line."""
    place = f"{path}:{line.number}"
    if line.too_long:
        return unusable(line, place, "the row is longer than any row may be; mend it")
    try:
        values = json.loads(line.data.decode("utf-8-sig" if line.number == 1 else "utf-8"))
    except (ValueError, RecursionError) as error:
        return unusable(line, place, f"the row is not valid JSON ({error}); mend it")
    if not isinstance(values, dict):
        return unusable(line, place, "the row is not a JSON object; mend it")
    return reading.row(path, line.number, values, line.read)


def unusable(line: Line, place: str, reason: str) -> InputRow:
    """A line that is no row."""
    return _unusable(line.number, place, reason, line.read)


def _skip_line(file: BinaryIO, limit: int) -> int:
    """Read on to the end of a line; how far that was."""
    skipped = 0
    while part := file.readline(limit):
        skipped += len(part)
        if part.endswith(b"\n"):
            break
    return skipped


def _unusable(number: int, place: str, reason: str, read: int) -> InputRow:
    return InputRow(number, place, Unreadable(reason), {}, read)


class CsvRows(_TableRows):
    """CSV with a header, or TSV; a row's number is the line that it begins on."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path, reading)
        self.delimiter, self.names = read_header(path)
        reading.check_columns(self.names, path)

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows that begin beyond line `after`; of bytes read, characters are counted."""
        for number, cells, read in islice(read_cells(self.path, self.delimiter), 1, None):
            if number > after:
                yield self._row(number, cells, read)

    def _row(self, number: int, cells: Sequence[str], read: int) -> InputRow:
        if len(cells) != len(self.names):
            reason = wrong_width(cells, self.names, self.delimiter)
            return _unusable(number, f"{self.path}:{number}", reason, read)
        return self.reading.row(self.path, number, dict(zip(self.names, cells, strict=True)), read)


class ParquetRows(_TableRows):
    """Parquet; rows count from 1."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path, reading)
        self.total, self.unit = None, "row"
        present = read_parquet(path, frozenset()).columns or ()
        reading.check_columns(present, path)
        self.wanted = frozenset(present) & reading.columns_read(present)

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows beyond `after`."""
        for number, cells in read_parquet(self.path, self.wanted).rows:
            if number > after:
                yield self._row(number, cells)

    def _row(self, number: int, cells: Mapping[str, Any]) -> InputRow:
        place = f"{self.path}:{number}"
        try:
            require_cells(cells, place)
        except UserError as error:
            return _unusable(number, place, str(error).removeprefix(f"{place}: "), number)
        return self.reading.row(self.path, number, cells, number)


_KINDS: dict[str, type[_TableRows]] = {
    ".jsonl": JsonRows, ".ndjson": JsonRows, ".csv": CsvRows, ".tsv": CsvRows, ".parquet": ParquetRows,
}  # fmt: skip
TABLES = (*_KINDS,)
"""What tables are called."""


class FolderRows(RowSource):
    """The pictures of a folder and the folders below it, in the order of their paths.

    Rows are told by their names, so that pictures may be added between two runs.

    Attributes:
        report: what else the folder holds.
    """

    def __init__(self, path: Path, reading: Reading) -> None:
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
        scan = scan_folder(path)
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
                path = self.path / name
                yield InputRow(number, str(path), {self.field: path}, {"image": name}, number)

    def known_by(self) -> dict[str, Any]:
        """The folder."""
        return known_path(self.path)
