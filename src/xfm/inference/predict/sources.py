"""Rows to answer, one after the other: JSON lines, CSV, TSV or Parquet of any length, or a folder."""

import csv
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from xfm.config.pipelines import Holds
from xfm.data.records import Limits
from xfm.data.tables.folder import SUFFIXES
from xfm.data.tables.parquet import read_parquet
from xfm.data.tables.records import unreadable
from xfm.errors import UserError
from xfm.inference.items import Unreadable
from xfm.inference.predict.reading import InputRow, Reading, RowSource


def open_source(path: Path, reading: Reading) -> RowSource:
    """The rows of a table or a folder.

    Raises:
        UserError: there is no such file or folder, it is of an unknown kind, or lacks a column.
    """
    reading.check_fields()
    if path.is_dir():
        return FolderRows(path, reading)
    kinds: dict[str, type[_TableRows]] = {
        ".jsonl": JsonRows, ".ndjson": JsonRows, ".csv": CsvRows, ".tsv": CsvRows, ".parquet": ParquetRows,
    }  # fmt: skip
    kind = kinds.get(path.suffix.lower())
    if kind is None:
        raise UserError(
            f"{path}: the input is a folder of pictures, or a file of {', '.join(kinds)}; rename or "
            "convert it"
        )
    with unreadable(path):
        path.stat()
        return kind(path, reading)


class _TableRows(RowSource):
    def __init__(self, path: Path, reading: Reading) -> None:
        self.path, self.reading = path, reading
        self.total, self.unit = path.stat().st_size, "B"


class JsonRows(_TableRows):
    """JSON lines; a row's number is its line."""

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows on lines beyond `after`; blank lines are passed over."""
        limit, read, number = Limits().annotation_bytes, 0, 0
        with unreadable(self.path), self.path.open("rb") as file:
            while line := file.readline(limit + 1):
                number += 1
                read += len(line)
                too_long = len(line) > limit and not line.endswith(b"\n")
                if too_long:
                    read += _skip_line(file, limit)
                if number <= after or not line.strip():
                    continue
                yield self._row(number, line, read, too_long)

    def _row(self, number: int, line: bytes, read: int, too_long: bool) -> InputRow:
        place = f"{self.path}:{number}"
        if too_long:
            return _unusable(number, place, "the row is longer than any row may be; mend it", read)
        try:
            values = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
        except (ValueError, RecursionError) as error:
            return _unusable(number, place, f"the row is not valid JSON ({error}); mend it", read)
        if not isinstance(values, dict):
            return _unusable(number, place, "the row is not a JSON object; mend it", read)
        return self.reading.row(self.path, number, values, read)


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
        with path.open(encoding="utf-8-sig", newline="") as file:
            first = file.readline(1 << 20)
        tabs = path.suffix.lower() == ".tsv"
        self.delimiter = "\t" if tabs else max((",", ";", "\t", "|"), key=first.count)
        self.names = [name.strip() for name in next(csv.reader([first], delimiter=self.delimiter), [])]
        if not any(self.names):
            raise UserError(f"{path}: the first line names no columns; write a header, such as image,text")
        if twice := sorted({name for name in self.names if name and self.names.count(name) > 1}):
            raise UserError(f"{path}: the column {twice[0]!r} is there twice; rename one of them")
        reading.check_columns(self.names, path)

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows that begin beyond line `after`."""
        before = csv.field_size_limit(Limits().annotation_bytes)
        number = 1
        try:
            with unreadable(self.path), self.path.open(encoding="utf-8-sig", newline="") as file:
                counted = _Counted(file)
                reader = csv.reader(counted, delimiter=self.delimiter, strict=True)
                next(reader, None)
                number = reader.line_num + 1
                for cells in reader:
                    here, number = number, reader.line_num + 1
                    if here > after and cells and cells != [""]:
                        yield self._row(here, cells, counted.read)
        except csv.Error as error:
            raise UserError(
                f"{self.path}:{number}: the row cannot be read ({error}); mend its quotes"
            ) from None
        finally:
            csv.field_size_limit(before)

    def _row(self, number: int, cells: Sequence[str], read: int) -> InputRow:
        if len(cells) != len(self.names):
            reason = (
                f"the row has {len(cells)} cells, but there are {len(self.names)} columns; put quotes around "
                f"cells that hold {self.delimiter!r} or line breaks"
            )
            return _unusable(number, f"{self.path}:{number}", reason, read)
        return self.reading.row(self.path, number, dict(zip(self.names, cells, strict=True)), read)


class _Counted:
    """Lines of a text file and the bytes that they took, roughly: characters count as one."""

    def __init__(self, lines: Iterator[str]) -> None:
        self._lines, self.read = lines, 0

    def __iter__(self) -> Iterator[str]:
        for line in self._lines:
            self.read += len(line)
            yield line


class ParquetRows(_TableRows):
    """Parquet; rows count from 1."""

    def __init__(self, path: Path, reading: Reading) -> None:
        super().__init__(path, reading)
        self.total, self.unit = None, "row"
        present = read_parquet(path, frozenset()).columns or ()
        reading.check_columns(present, path)
        self.wanted = frozenset(present)

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The rows beyond `after`."""
        for number, cells in read_parquet(self.path, self.wanted).rows:
            if number > after:
                yield self.reading.row(self.path, number, cells, number)


class FolderRows(RowSource):
    """The pictures of a folder and the folders below it, in the order of their paths.

    Rows are told by their names, so that pictures may be added between two runs.
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
        self.names = sorted(_pictures_below(path))
        if not self.names:
            raise UserError(f"{path} holds no pictures ({', '.join(sorted(SUFFIXES))}); check the path")
        self.total = len(self.names)

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """The pictures that are not done yet."""
        for number, name in enumerate(self.names, start=1):
            if name not in done:
                path = self.path / name
                yield InputRow(number, str(path), {self.field: path}, {"image": name}, number)


def _pictures_below(folder: Path) -> Iterator[str]:
    """Paths of pictures relative to the folder; links to folders are not followed."""
    for place, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            if os.path.splitext(name)[1].lower() in SUFFIXES and not name.startswith("."):
                yield os.path.relpath(os.path.join(place, name), folder)
