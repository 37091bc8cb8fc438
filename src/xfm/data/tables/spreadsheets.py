"""CSV and TSV with a header, whose quoted cells may hold line breaks, and sheets of Excel workbooks: values
alone, no macro, formula or link is followed. openpyxl reads them in a process of its own, see
`xfm.core.sandbox`."""

import contextlib
import csv
import io
import json
import sys
from collections.abc import Generator, Iterator
from importlib.util import find_spec
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from xfm.config.tables import sheet_of, table_kind
from xfm.core.errors import UserError, excerpt, printable
from xfm.core.sandbox import ParsingError, parsed
from xfm.data.images import MAX_BYTES
from xfm.data.records import Limits
from xfm.data.tables.columns import listed
from xfm.data.tables.records import (
    RawRow,
    Records,
    open_stored,
    refuse_double_columns,
    stored_size,
    unreadable,
)

LONGEST_LINE = MAX_BYTES
"""Characters of a line, or of a row of several, at most: a file without line breaks, or with all of them
between quotes, would be read whole."""
_DELIMITERS = (",", ";", "\t", "|")


# ---------------------------------------------------------------- CSV
def read_delimited(path: Path) -> Records:
    """A CSV or TSV file (tab of `.tsv`, else the most frequent of `, ; tab |`); rows are numbered by the line
    that they begin on. Raises UserError."""
    size = stored_size(path)
    with _opened(path) as file:
        first = file.readline(1 << 20)
    delimiter = "\t" if table_kind(path) == ".tsv" else max(_DELIMITERS, key=first.count)
    with contextlib.closing(_cells(path, delimiter)) as found:
        names = [name.strip() for name in next(found, (1, [], 0))[1]]
    if not any(names):
        raise UserError(f"{path}: the first line names no columns; write a header, such as text,label")
    refuse_double_columns(path, names)

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        for number, cells, read in islice(_cells(path, delimiter), 1, None):
            if len(cells) == len(names):
                chosen = {n: c for n, c in zip(names, cells, strict=True) if n in wanted}
                yield RawRow(number, chosen, read)
                continue
            flaw = (
                f"the row has {len(cells)} cells, but there are {len(names)} columns; put quotes around "
                f"cells that hold {delimiter!r} or line breaks"
            )
            yield RawRow(number, read=read, flaw=flaw)

    return Records(tuple(names), rows, size, "B", typed=False)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[TextIO]:
    with open_stored(path) as file, io.TextIOWrapper(file, "utf-8-sig", newline="") as text:
        yield text


def _cells(path: Path, delimiter: str) -> Generator[tuple[int, list[str], int]]:
    """First line, cells, and characters read up to its end, of every row that is not blank."""
    before = csv.field_size_limit(Limits().annotation_bytes)
    row, begun, read = 1, 0, 0  # the line and the character where the row at hand begins, and those read

    def lines(file: TextIO) -> Iterator[str]:
        nonlocal read
        while line := file.readline(LONGEST_LINE + 1):
            read += len(line)
            if read - begun > LONGEST_LINE:
                raise UserError(
                    f"{path}:{row}: the row has no end; put line breaks between rows, and look at its quotes"
                )
            yield line

    try:
        with _opened(path) as file:
            reader = csv.reader(lines(file), delimiter=delimiter, strict=True)
            for cells in reader:
                number, row, begun = row, reader.line_num + 1, read
                if cells and cells != [""]:
                    yield number, cells, read
    except csv.Error as error:
        raise UserError(
            f"{path}:{row}: the row cannot be read ({error}); look at the quotes of this row"
        ) from None
    finally:
        csv.field_size_limit(before)


# ---------------------------------------------------------------- Excel
def read_workbook(path: Path) -> Records:
    """A sheet of `book.xlsx` or `book.xlsx@SHEET`, header first; rows have Excel's numbers. Raises
    UserError."""
    file, sheet = sheet_of(path)
    [(sheets, header)] = _parsed("workbook_header", file, sheet)
    if sheet is None and len(sheets) > 1:
        told = f"{file} has {len(sheets)} sheets ({listed(sheets)}) and the first is read"
        print(f"Note: {printable(told)}; name another as {file.name}@SHEET", file=sys.stderr)
    names = ["" if name is None else str(name).strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise UserError(f"{path}: the first row names no columns; write a header, such as text and label")
    refuse_double_columns(path, names)
    limit = Limits().annotation_bytes

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        for number, cells in (
            row for rows in _parsed("workbook_rows", file, sheet, len(names)) for row in rows
        ):
            chosen = {name: cell for name, cell in zip(names, cells, strict=True) if name in wanted}
            large = [name for name, cell in chosen.items() if isinstance(cell, str) and len(cell) > limit]
            flaw = (
                f"the column {excerpt(large[0])!r} has {len(chosen[large[0]])} characters, more than the "
                f"limit of {limit}; shrink it"
                if large
                else None
            )
            yield RawRow(number, {} if flaw else chosen, number, flaw)

    return Records(tuple(names), rows)


def _parsed(parser: str, file: Path, sheet: str | None, *more: int) -> Iterator[Any]:
    if find_spec("openpyxl") is None:
        raise UserError(f"{file}: Excel needs openpyxl; install it with pip install 'xfm[xlsx]'")
    with unreadable(file), file.open("rb"):
        pass
    try:
        yield from map(json.loads, parsed(f"xfm.data.parsers:{parser}", str(file), sheet, *more))
    except ParsingError as error:
        raise UserError(
            f"{file} cannot be read as a workbook ({error}); {error.remedy or 'save it again as .xlsx'}"
        ) from None
