"""The parts of a workbook as openpyxl reads them: each is looked through first, as what it is read as.

A workbook says itself which of its parts is what, whatever their names. openpyxl builds trees of XML; of a
sheet and of the table of texts it forgets an entry once it is read, and nothing else.
"""

import re
import zipfile
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path
from typing import IO, Any

from openpyxl.chartsheet import Chartsheet
from openpyxl.reader.excel import ExcelReader

from xfm.errors import UserError, excerpt

MAX_SHEET, MAX_TEXTS, MAX_PART = 512 << 20, 128 << 20, 16 << 20
"""Bytes of a sheet, of the table of texts, and of any other part that is read, expanded."""
MAX_UNIT = 4 << 20
"""Bytes of a row of a sheet, or of a text."""
_PIECE = 1 << 20
_REST = re.compile(rb"""(?:\s+[^\s<>=/"']+\s*=\s*(?:"[^"]*"|'[^']*'))*\s*(/?)>""")
"""What stands behind the name of an element, up to its end."""


@dataclass(frozen=True)
class _Kind:
    """What a part may be read as.

    Attributes:
        most: bytes that it may have.
        mark: finds the beginnings and ends of its entries; None where it has none.
        entries: that there may be.
    """

    most: int
    mark: re.Pattern[bytes] | None = None
    entries: int = 0


def _marks(name: bytes) -> re.Pattern[bytes]:
    return re.compile(rb"<(/?)(?:[^\s<>/!?]+:)?" + name + rb"(?![^\s/>])")


_ROWS, _TEXTS = _marks(b"row"), _marks(b"si")
_WHOLE = _Kind(MAX_PART)


class Reader(ExcelReader):
    """openpyxl's reader of values, whose parts are looked through before it sees them.

    Args:
        path: of the workbook, for messages.
        file: it.
        rows: that a sheet may have.
    """

    def __init__(self, path: Path, file: BufferedReader, rows: int) -> None:
        super().__init__(file, read_only=True, data_only=True, keep_links=False)
        self.parts = self.archive = _Parts(path, file)
        self._rows = rows

    def read_strings(self) -> None:
        """The table of texts, which is read text by text."""
        self.parts.kind = _Kind(MAX_TEXTS, _TEXTS, MAX_TEXTS // 32)
        super().read_strings()
        self.parts.kind = _WHOLE

    def read_worksheets(self) -> None:
        """The sheets, which are read row by row, now and later."""
        self.parts.kind = _Kind(MAX_SHEET, _ROWS, self._rows)
        super().read_worksheets()

    def read_chartsheet(self, sheet: Any, rel: Any) -> None:
        """A sheet with a chart has no cells: it keeps its place alone."""
        book: Any = self.wb
        book._add_sheet(Chartsheet(parent=book, title=sheet.name))


class _Parts(zipfile.ZipFile):
    """The archive; a part of which too much is, or that is no plain XML, is not opened.

    Entities, comments and sections of raw text are what XML is made to explode with, or to hide marks in;
    no program writes them into workbooks. Sizes are those that the archive states, beyond which nothing is
    read.
    """

    def __init__(self, path: Path, file: BufferedReader) -> None:
        super().__init__(file)
        self._path, self.kind = path, _WHOLE
        self._seen: set[tuple[str, _Kind]] = set()

    def open(self, name: Any, *more: Any, **named: Any) -> IO[bytes]:
        """A part, which is read piece by piece as what is read now.

        Raises:
            UserError: names the part, and what is wrong with it.
        """
        self._check(name, self.kind)
        return super().open(name, *more, **named)

    def read(self, name: Any, *more: Any, **named: Any) -> bytes:
        """A whole part; raises as `open`."""
        self._check(name, _WHOLE)
        with super().open(name, *more, **named) as stream:
            return stream.read()

    def _check(self, name: Any, kind: _Kind) -> None:
        part = name if isinstance(name, zipfile.ZipInfo) else self.getinfo(name)
        if (part.filename, kind) in self._seen:
            return
        place = f"{self._path}: its part {excerpt(part.filename)}"
        if part.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise UserError(f"{place} is packed as no workbook is; save it again as .xlsx")
        if part.file_size > kind.most:
            raise UserError(
                f"{place} has {part.file_size} bytes, more than the limit of {kind.most}; write a smaller "
                "table"
            )
        with super().open(part) as stream:
            _look_through(place, stream, kind)
        self._seen.add((part.filename, kind))


def _look_through(place: str, stream: IO[bytes], kind: _Kind) -> None:
    """Refuse XML of which openpyxl would hold more than an entry and what stands beside all of them."""
    text, entries = b"", _Entries(place, kind)
    while data := stream.read(_PIECE):
        text += data
        if b"<!" in text or b"\0" in text:
            raise UserError(f"{place} is no plain XML, as programs write it; save the table again")
        if len(text) > MAX_UNIT + _PIECE and kind.mark:
            raise UserError(f"{place} has an entry of more than {MAX_UNIT} bytes; write a smaller one")
        cut = text.rfind(b"<")  # an element is whole where the next one begins
        if cut > 0:
            entries.see(text[:cut])
            text = text[cut:]


class _Entries:
    def __init__(self, place: str, kind: _Kind) -> None:
        self._place, self._kind = place, kind
        self._count = self._beside = self._inside = 0
        self._open = False

    def see(self, text: bytes) -> None:
        """Look at the next bytes, which end where an element does.

        Raises:
            UserError: there are too many entries, one is too long or in another, or too much is beside them.
        """
        since = 0
        for found in self._kind.mark.finditer(text) if self._kind.mark else ():
            self._pass(text[since : found.start()])
            if found[1]:
                self._open, since = False, found.end()
                continue
            rest = _REST.match(text, found.end())
            if rest is None or self._open:
                raise UserError(f"{self._place} has entries as no program writes them; save the table again")
            self._count, self._inside = self._count + 1, 0
            self._open, since = not rest[1], rest.end()
        self._pass(text[since:])
        if self._kind.mark:
            self._check()

    def _pass(self, text: bytes) -> None:
        if self._open:
            self._inside += len(text)
        else:
            self._beside += len(text.strip())

    def _check(self) -> None:
        limits = (
            (self._count, self._kind.entries, "{} entries"),
            (self._beside, MAX_PART, "{} bytes beside its entries"),
        )
        for found, most, what in limits:
            if found > most:
                raise UserError(f"{self._place} has more than {what.format(most)}; write a smaller table")
        if self._inside > MAX_UNIT:
            raise UserError(f"{self._place} has an entry of more than {MAX_UNIT} bytes; write a smaller one")
