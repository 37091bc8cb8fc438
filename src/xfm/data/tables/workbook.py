"""Sheets of Excel workbooks (`.xlsx`): values alone. No macro, formula or link of a workbook is followed.

openpyxl reads them in a process of its own, see `xfm.core.sandbox`.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from xfm.config.tables import sheet_of
from xfm.core.errors import UserError, excerpt, printable
from xfm.core.sandbox import ParsingError, parsed
from xfm.data.records import Limits
from xfm.data.tables.columns import listed
from xfm.data.tables.records import RawRow, Records, unreadable


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
    if twice := sorted(name for name, found in Counter(names).items() if name and found > 1):
        raise UserError(f"{path}: the column {excerpt(twice[0])!r} is there twice; rename one of them")

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        for some in _parsed("workbook_rows", file, sheet, len(names)):
            for number, cells in some:
                chosen = {name: cell for name, cell in zip(names, cells, strict=True) if name in wanted}
                yield _checked(RawRow(number, chosen, number))

    return Records(tuple(names), rows)


def _checked(row: RawRow) -> RawRow:
    limit = Limits().annotation_bytes
    for name, cell in row.cells.items():
        if isinstance(cell, str) and len(cell) > limit:
            flaw = f"the column {excerpt(name)!r} has {len(cell)} characters, more than the limit of {limit}"
            return RawRow(row.number, read=row.read, flaw=f"{flaw}; shrink it")
    return row


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
