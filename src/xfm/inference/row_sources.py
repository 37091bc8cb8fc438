"""Sources of rows: tables of any length, folders of pictures, single inputs, standard input."""

import hashlib
import math
import mimetypes
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain, islice
from pathlib import Path
from typing import Any, BinaryIO

from xfm.config.tables import LISTED, table_kind
from xfm.config.task_spec import Field, FieldKind
from xfm.core.errors import UserError, printable
from xfm.core.paths import is_url
from xfm.data.folders import passed_over, scan_folder
from xfm.data.images import PICTURE_SUFFIXES, RAW_SUFFIXES, DecodedImage, UnreadableImage, image_size
from xfm.data.records import MAX_ANNOTATION
from xfm.data.tables import ColumnMap, InMemory, TableRow, open_table
from xfm.data.tables.columns import listed
from xfm.data.tables.json_list import json_row, numbered_lines
from xfm.data.tables.objects import beginning
from xfm.data.tables.records import RawRow, open_stored
from xfm.data.tables.table import parts_reader
from xfm.inference.input_parsing import example

_HEAD = 1 << 16
"""Most bytes of a line by which a file is known again."""


@dataclass(frozen=True)
class InputRow:
    """A row to answer: its number (a file's line, from 1), its place for messages, and columns to copy.
    `read` is the bytes (of folders and Parquet: rows) up to its end, for a progress bar."""

    number: int
    place: str
    given: Mapping[str, Any] | UserError
    kept: Mapping[str, Any]
    read: int

    def says(self, reason: str) -> str:
        """A flaw behind the row's place; an input of the command line has none."""
        return f"{self.place}: {reason}" if self.place else reason


@dataclass(frozen=True)
class ReadOptions:
    """How a table is read: fields, their columns, columns to keep, the folder of pictures, and addresses or
    not."""

    fields: Sequence[Field]
    columns: ColumnMap = field(default_factory=ColumnMap)
    keep: tuple[str, ...] = ()
    root: Path | None = None
    urls: bool = False

    def row(self, path: Path, raw: RawRow, free: bool = False) -> InputRow:
        """A row of a table, see `TableRow.free`; of a bad one `given` is its error."""
        place, kept = f"{path}:{raw.number}", {name: _json_value(raw.cells.get(name)) for name in self.keep}
        try:
            row = replace(TableRow.read(raw, path, self.fields, self.columns, self.root), free=free)
            given = dict[str, Any]()
            for one in self.fields:
                if one.optional and not any(map(row.has, (one.name, *one.parts))):
                    continue
                if one.holds is FieldKind.TEXT:
                    given[one.name] = row.text(one.name)
                elif one.holds is FieldKind.PICTURE:
                    given[one.name] = self._picture(one.name, row)
                else:
                    given[one.name] = [self._picture(one.name, alone) for alone in row.two(one)]
        except UserError as error:
            given = UserError(str(error).removeprefix(f"{place}: "))
        return InputRow(raw.number, place, given, kept, raw.read)

    def _picture(self, name: str, row: TableRow) -> Any:
        value = row.get(name)
        if isinstance(value, bytes | DecodedImage):
            return value
        if isinstance(value, str) and is_url(value):
            if not self.urls:
                raise row.error(name, "is an address, and these are fetched with --allow-urls only")
            return value
        return row.path(name)


class RowSource(ABC):
    """Rows in a fixed order; `total` in units of `InputRow.read`, None if unknown; `files` that are read."""

    total: int | None = None
    unit: str = "row"
    files: Sequence[Path] = ()
    report: str = ""

    @abstractmethod
    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        """Rows beyond a number, or of a folder those not among `done`; UserError if reading fails."""

    @abstractmethod
    def known_by(self) -> dict[str, Any]:
        """Identity of the rows."""


def known_path(path: Path) -> dict[str, Any]:
    """Identity of a folder (its path) or file (name and first two lines: it may grow, rows may be mended)."""
    if os.path.isdir(path):
        return {"folder": os.path.abspath(path)}
    with open_stored(path) as file:
        return known_head(path.name, file.readline(_HEAD) + file.readline(_HEAD))


def known_head(name: str, head: bytes) -> dict[str, Any]:
    """Identity of a file: its name, and a digest of its first lines."""
    return {"file": name, "begins": hashlib.sha256(head).hexdigest()[:16]}


def open_rows(path: Path | InMemory, reading: ReadOptions) -> "TableRows | FolderRows":
    """Rows of a table, in a file or in memory, or of a folder; UserError if there is no such thing."""
    reading.columns.check_fields(reading.fields)
    if not isinstance(path, InMemory) and os.path.isdir(path):  # `Path.is_dir` raises for a long name
        return FolderRows(path, reading)
    if isinstance(path, InMemory) or table_kind(path) is not None:
        return TableRows(path, reading)
    if not os.path.lexists(path):
        raise UserError(f"{path} does not exist; check the path")
    raise UserError(f"{path} is neither a folder of pictures nor a file of {LISTED}; rename or convert it")


class TableRows(RowSource):
    """Rows of a file or in memory, identified by number."""

    def __init__(self, source: Path | InMemory, reading: ReadOptions) -> None:
        path = Path(str(source))
        self.path, self.reading, self._table = path, reading, open_table(source)
        self._memory = source if isinstance(source, InMemory) else None
        self.total, self.unit = self._table.size, self._table.unit
        self.files = [path] if self._memory is None else []
        present = self._table.columns
        read = reading.columns.places(reading.fields, present or ()).values()
        self._needed = frozenset([*read, *reading.keep])
        self._part = parts_reader(self._table, self._needed)
        if present is not None:
            reading.columns.check_columns(reading.fields, present, path)
            if missing := [name for name in reading.keep if name not in present]:
                raise UserError(f"{path}: there is no column {missing[0]!r} to keep, only {listed(present)}")

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        # Rows of JSON need not have the same columns.
        missing = dict.fromkeys(self.reading.keep if self._table.columns is None else ())
        found, number = False, 0
        for raw in self._table.rows(self._needed):
            if (number := raw.number) > after:
                row, found = self.reading.row(self.path, raw, self._memory is not None), True
                for name in [name for name in missing if row.kept.get(name) is not None]:
                    del missing[name]
                yield row
        if number < after:
            raise UserError(
                f"{self.path} ends at row {number}, and rows to {after} are answered: was it cut? Name "
                "another --out, or begin again with --restart"
            )
        if found and missing:
            note = f"no row has {listed(list(missing))}, which --keep names: it is null in every answer"
            print(f"Note: {printable(note)}", file=sys.stderr)

    def starts(self, size: int) -> tuple[list[int], int]:
        """The first row's number of each part of `size` rows, and how many rows there are; reads the whole
        table once."""
        found, count = list[int](), 0
        for count, raw in enumerate(self._table.rows(frozenset()), 1):
            if (count - 1) % size == 0:
                found.append(raw.number)
        return found, count

    def part(self, first: int, last: int | None) -> Iterator[InputRow]:
        """Rows from one number up to another, exclusive; None is the end. Parts in order cost one reading of
        the file."""
        for raw in self._part(first, last):
            yield self.reading.row(self.path, raw, self._memory is not None)

    def known_by(self) -> dict[str, Any]:
        return known_path(self.path) if self._memory is None else {"begins": beginning(self._memory)}


class FolderRows(RowSource):
    """Pictures of a folder and those below it, by path; identified by name, so that pictures may be added.
    `names` are given where known; `report` tells what else the folder holds."""

    def __init__(self, path: Path, reading: ReadOptions, names: Sequence[str] | None = None) -> None:
        self.path, self.files = path, [path]
        needed = [one for one in reading.fields if not one.optional and one.holds is not FieldKind.PICTURE]
        pictures = [one for one in reading.fields if one.holds is FieldKind.PICTURE]
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
        self.names, passed = ([*names], {}) if names is not None else scan_folder(path)
        self.report = passed_over(path, passed)
        if not self.names:
            kinds = ", ".join(sorted(PICTURE_SUFFIXES))
            said = self.report and f"; {self.report}"
            raise UserError(f"{path} holds no pictures ({kinds}){said}; check the path")
        self.total = len(self.names)

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        for number, name in enumerate(self.names, start=1):
            if name not in done:
                yield self._row(number, name)

    def starts(self, size: int) -> tuple[list[int], int]:
        return [*range(1, len(self.names) + 1, size)], len(self.names)

    def part(self, first: int, last: int | None) -> Iterator[InputRow]:
        for number in range(first, len(self.names) + 1 if last is None else last):
            yield self._row(number, self.names[number - 1])

    def _row(self, number: int, name: str) -> InputRow:
        path = self.path / name
        return InputRow(number, str(path), {self.field: path}, {"image": name}, number)

    def known_by(self) -> dict[str, Any]:
        return known_path(self.path)


class OneRow(RowSource):
    """One input, with the number 1."""

    total = 1

    def __init__(self, given: Mapping[str, Any]) -> None:
        self.given = given
        self.files = [Path(one) for one in given.values() if isinstance(one, str) and "\0" not in one]

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        if after < 1:
            yield InputRow(1, "", self.given, {}, 1)

    def known_by(self) -> dict[str, Any]:
        return {"given": dict(self.given)}


def is_image_file(path: Path) -> bool:
    """Whether a file is a picture, by its name or contents."""
    if path.suffix.lower() in RAW_SUFFIXES or (mimetypes.guess_type(path.name)[0] or "").startswith("image/"):
        return True
    try:
        image_size(path)
    except UnreadableImage:
        return False
    return True


def alone(fields: Sequence[Field]) -> list[Field]:
    """The fields of which one can be an input by itself."""
    required = [field for field in fields if not field.optional]
    return [field for field in required or fields if len(required) < 2 and not field.parts]


class StandardInput(RowSource):
    """JSON lines, or plain lines of the only field; the first line decides. A row's number is its line.
    `form` is the kind in words, `plain` the field of plain lines. Paths start from the working folder."""

    name = Path("standard input")

    def __init__(self, file: BinaryIO, reading: ReadOptions) -> None:
        reading.columns.check_fields(reading.fields)
        self.reading = reading
        self._rest = numbered_lines(file)
        self._head = list(islice(self._rest, 1))
        if not self._head:
            raise UserError(f"{self.name} holds no rows; give {example(reading.fields)}, one a line")
        if self._head[0].too_long:  # it may have no end, as /dev/zero
            limit = MAX_ANNOTATION >> 20
            raise UserError(f"{self.name}: the first line is longer than {limit} MiB; give one input a line")
        self._head += islice(self._rest, 1)
        is_json = self._head[0].data.lstrip(b"\xef\xbb\xbf \t").startswith(b"{")
        fitting = [] if is_json else alone(reading.fields)
        if not is_json and not fitting:
            raise UserError(f"{self.name}: give JSON lines such as {example(reading.fields)}")
        self.plain = fitting[0] if fitting else None
        self.form = "JSON lines"
        if self.plain is not None:
            what = "lines of text" if self.plain.holds is FieldKind.TEXT else "paths of pictures"
            self.form = f"{what}, one input a line"

    def rows(self, after: int, done: frozenset[str]) -> Iterator[InputRow]:
        for line in chain(self._head, self._rest):
            if line.number <= after:
                continue
            if self.plain is None:
                yield self.reading.row(self.name, json_row(line))
                continue
            try:
                cells, flaw = {self.plain.name: line.text().strip("\r\n")}, None
            except UnicodeDecodeError:
                cells, flaw = {}, "the line is not UTF-8; mend it"
            if line.too_long:
                flaw = "the line is longer than any row may be; mend it"
            yield self.reading.row(self.name, RawRow(line.number, cells, line.read, flaw))

    def known_by(self) -> dict[str, Any]:
        return known_head(str(self.name), b"".join(line.data for line in self._head))


def _json_value(value: Any) -> Any:
    """A cell without NaN and infinities, which JSON does not have: they are empty, as in tables."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {key: _json_value(one) for key, one in value.items()}
    return [*map(_json_value, value)] if isinstance(value, list | tuple) else value
