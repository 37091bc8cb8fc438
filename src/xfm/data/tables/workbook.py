"""Sheets of Excel workbooks (`.xlsx`): values alone. No macro, formula or link of a workbook is followed.

openpyxl holds the cells of a row and all distinct texts. Before it reads anything, every part is looked
through piece by piece: what it would take all memory for is refused.
"""

import sys
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date, datetime, time
from itertools import count
from pathlib import Path
from typing import Any, BinaryIO

from xfm.config.table_kinds import sheet_of
from xfm.data.records import Limits
from xfm.data.tables.columns import listed
from xfm.data.tables.records import RawRow, Records, unreadable
from xfm.errors import UserError, excerpt, first_line, printable
from xfm.files import open_regular

MAX_SHEET, MAX_TEXTS, MAX_PART = 512 << 20, 128 << 20, 16 << 20
"""Bytes of a sheet, of the table of texts, and of any other part that is read, expanded."""
MAX_ROWS, MAX_COLUMNS = 1 << 20, 1 << 14
"""Of a sheet, as Excel has them."""
MAX_UNIT = 4 << 20
"""Bytes of a row of a sheet, or of a text."""
_PIECE = 1 << 20


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
    """A sheet, open for reading row by row.

    Args:
        path: of the workbook.
        sheet: its name; None takes the first.
        note: say on stderr which one is taken where there are several.
    """
    try:
        import openpyxl
    except ImportError:
        raise UserError(f"{path}: Excel needs openpyxl; install it with pip install 'xfm[xlsx]'") from None
    with unreadable(path), open_regular(path) as file:
        try:
            check_parts(path, file)
            file.seek(0)
            book = openpyxl.load_workbook(file, read_only=True, data_only=True, keep_links=False)
            tables = book.worksheets
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
            book.close()
        except (UserError, MemoryError, OSError):
            raise
        except Exception as error:  # the library raises whatever its parsers raise
            raise UserError(
                f"{path} cannot be read as a workbook ({first_line(error)}); save it again as .xlsx"
            ) from error


def check_parts(path: Path, file: BinaryIO) -> None:
    """Refuse a workbook with a part that is too large, or that is no plain XML.

    Entities, comments and sections of raw text are what XML is made to explode with, or to hide marks in;
    no program writes them into workbooks. Sizes are those that the archive states, beyond which nothing is
    read.

    Raises:
        UserError: names the part.
        zipfile.BadZipFile: it is no archive, or damaged.
    """
    with zipfile.ZipFile(file) as book:
        for part in book.infolist():
            name = part.filename.lower().lstrip("/")
            if not name.endswith((".xml", ".rels")):
                continue  # macros, pictures and so on, which nobody reads
            if name.startswith("xl/worksheets/"):
                _check_part(path, book, part, MAX_SHEET, b"<row", MAX_ROWS)
            elif name.endswith("sharedstrings.xml"):
                _check_part(path, book, part, MAX_TEXTS, b"<si", MAX_TEXTS // 32)
            else:
                _check_part(path, book, part, MAX_PART, b"", 0)


def _check_part(
    path: Path, book: zipfile.ZipFile, part: zipfile.ZipInfo, most: int, unit: bytes, units: int
) -> None:
    """Look through a part.

    Args:
        path: of the workbook, for messages.
        book: it.
        part: of it.
        most: bytes that it may have.
        unit: how each of its rows, or texts, begins; empty where it has none.
        units: of them that there may be.
    """
    place = f"{path}: its part {excerpt(part.filename)}"
    if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise UserError(f"{place} is packed as no workbook is; save it again as .xlsx")
    if part.file_size > most:
        raise UserError(
            f"{place} has {part.file_size} bytes, more than the limit of {most}; write a smaller table"
        )
    found, since, tail = 0, 0, b""
    with book.open(part) as stream:
        while data := stream.read(_PIECE):
            text = tail + data
            if b"<!" in text or b"\0" in text:
                raise UserError(f"{place} is no plain XML, as programs write it; save the table again")
            if unit:
                found += text.count(unit)
                last = text.rfind(unit)
                since = len(text) - last if last >= 0 else since + len(data)
            if found > units and unit:
                raise UserError(f"{place} has more than {units} entries; write a smaller table")
            if since > MAX_UNIT:
                raise UserError(f"{place} has an entry of more than {MAX_UNIT} bytes; write a smaller one")
            # What two pieces share is looked at twice, but counted once: no unit fits into it.
            tail = text[-(max(len(unit), 2) - 1) :]
