"""Sheets of Excel workbooks (`.xlsx`): values alone. No macro, formula or link of a workbook is followed.

openpyxl holds the cells of a row and all distinct texts; what it would take all memory for is refused, see
`xfm.data.tables.workbook_parts`.
"""

import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from itertools import count
from pathlib import Path
from typing import Any

from xfm.config.table_kinds import sheet_of
from xfm.data.records import Limits
from xfm.data.tables.columns import listed
from xfm.data.tables.records import RawRow, Records, unreadable
from xfm.errors import UserError, excerpt, first_line, printable
from xfm.files import open_regular

MAX_ROWS, MAX_COLUMNS = 1 << 20, 1 << 14
"""Of a sheet, as Excel has them."""


def read_workbook(path: Path) -> Records:
    """A sheet with a header in its first row, the first sheet if none is named; rows have Excel's numbers.

    Args:
        path: `book.xlsx`, or `book.xlsx@SHEET`.

    Raises:
        UserError: openpyxl is not installed, or the file is missing, damaged, or made to take all memory.
    """
    file, sheet = sheet_of(path)
    with _opened(file, sheet, note=sheet is None) as table:
        header = next(table.iter_rows(1, 1, 1, MAX_COLUMNS, values_only=True), ())
    names = [_text(name).strip() for name in header]
    while names and not names[-1]:
        names.pop()
    if not names:
        raise UserError(f"{path}: the first row names no columns; write a header, such as text and label")
    if twice := sorted(name for name, found in Counter(names).items() if name and found > 1):
        raise UserError(f"{path}: the column {excerpt(twice[0])!r} is there twice; rename one of them")

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        with _opened(file, sheet) as table:
            for number, cells in zip(
                count(2), table.iter_rows(2, MAX_ROWS, 1, len(names), values_only=True), strict=False
            ):
                if any(cell is not None for cell in cells):
                    chosen = {n: _plain(c) for n, c in zip(names, cells, strict=True) if n in wanted}
                    yield _checked(RawRow(number, chosen, number))

    return Records(tuple(names), rows)


def _checked(row: RawRow) -> RawRow:
    limit = Limits().annotation_bytes
    for name, cell in row.cells.items():
        if isinstance(cell, str) and len(cell) > limit:
            flaw = f"the column {excerpt(name)!r} has {len(cell)} characters, more than the limit of {limit}"
            return RawRow(row.number, read=row.read, flaw=f"{flaw}; shrink it")
    return row


def _text(cell: Any) -> str:
    return "" if cell is None else str(_plain(cell))


def _plain(cell: Any) -> Any:
    """A value as other tables have it: a whole number is none of points, a moment is a text."""
    if isinstance(cell, float) and cell.is_integer() and abs(cell) < 2**53:
        return int(cell)
    return cell.isoformat() if isinstance(cell, date | datetime | time) else cell


@contextmanager
def _opened(path: Path, sheet: str | None, note: bool = False) -> Iterator[Any]:
    try:
        from xfm.data.tables.workbook_parts import Reader
    except ImportError:
        raise UserError(f"{path}: Excel needs openpyxl; install it with pip install 'xfm[xlsx]'") from None
    with unreadable(path), open_regular(path) as file:
        try:
            reader = Reader(path, file, MAX_ROWS)
            reader.read()
            tables = reader.wb.worksheets
            if not tables:
                raise UserError(f"{path} has no sheet; write one")
            names = [table.title for table in tables]
            if sheet is not None and sheet not in names:
                raise UserError(
                    f"{path}: there is no sheet {excerpt(sheet)!r}, only {listed(names)}; name one of them"
                )
            if note and len(names) > 1:
                told = f"{path} has {len(names)} sheets ({listed(names)}) and the first is read"
                print(f"Note: {printable(told)}; name another as {path.name}@SHEET", file=sys.stderr)
            found = tables[names.index(sheet) if sheet is not None else 0]
            found.reset_dimensions()  # a workbook may claim any
            yield found
            reader.wb.close()
        except (UserError, MemoryError, OSError):
            raise
        except Exception as error:  # the library raises whatever its parsers raise
            raise UserError(
                f"{path} cannot be read as a workbook ({first_line(error)}); save it again as .xlsx"
            ) from error
