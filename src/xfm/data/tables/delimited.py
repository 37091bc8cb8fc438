"""CSV and TSV with a header; quoted cells may hold line breaks."""

import contextlib
import csv
import io
from collections import Counter
from collections.abc import Generator, Iterator
from itertools import count, islice
from pathlib import Path
from typing import TextIO

from xfm.config.tables import table_kind
from xfm.core.errors import UserError, excerpt
from xfm.data.images import MAX_BYTES
from xfm.data.records import Limits
from xfm.data.tables.records import RawRow, Records, open_stored, stored_size

LONGEST_LINE = MAX_BYTES
"""Characters of a line, or of a row of several, at most: a file without line breaks, or with all of them
between quotes, would be read whole."""
_DELIMITERS = (",", ";", "\t", "|")


def read_delimited(path: Path) -> Records:
    """A CSV or TSV file; rows are numbered by the line that they begin on. Raises UserError."""
    size = stored_size(path)
    delimiter, names = _read_header(path)

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        for number, cells, read in islice(_read_cells(path, delimiter), 1, None):
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


def _read_header(path: Path) -> tuple[str, list[str]]:
    """The delimiter (tab of `.tsv`, else the most frequent of `, ; tab |`) and the column names."""
    with _opened(path) as file:
        first = file.readline(1 << 20)
    delimiter = "\t" if table_kind(path) == ".tsv" else max(_DELIMITERS, key=first.count)
    with contextlib.closing(_read_cells(path, delimiter)) as rows:
        _, header, _ = next(rows, (1, [], 0))
    names = [name.strip() for name in header]
    if not any(names):
        raise UserError(f"{path}: the first line names no columns; write a header, such as text,label")
    if twice := sorted(name for name, count in Counter(names).items() if name and count > 1):
        raise UserError(f"{path}: the column {excerpt(twice[0])!r} is there twice; rename one of them")
    return delimiter, names


def _read_cells(path: Path, delimiter: str) -> Generator[tuple[int, list[str], int]]:
    """First line, cells, and characters read up to its end, of every row that is not blank."""
    before = csv.field_size_limit(Limits().annotation_bytes)
    line = 1
    try:
        with _opened(path) as file:
            lines = _Lines(path, file)
            reader = csv.reader(lines, delimiter=delimiter, strict=True)
            for cells in reader:
                number, line = line, reader.line_num + 1
                lines.begin()
                if cells and cells != [""]:
                    yield number, cells, lines.read
    except csv.Error as error:
        raise UserError(
            f"{path}:{line}: the row cannot be read ({error}); look at the quotes of this row"
        ) from None
    finally:
        csv.field_size_limit(before)


class _Lines:
    def __init__(self, path: Path, file: TextIO) -> None:
        self._path, self._file, self.read = path, file, 0
        self._begun, self._row = 0, 1

    def begin(self) -> None:
        self._begun, self._row = self.read, 0

    def __iter__(self) -> Iterator[str]:
        for number in count(1):
            line = self._file.readline(LONGEST_LINE + 1)
            if len(line) > LONGEST_LINE:
                raise UserError(f"{self._path}:{number}: the line has no end; put line breaks between rows")
            if not line:
                return
            self.read += len(line)
            self._row = self._row or number
            if self.read - self._begun > LONGEST_LINE:
                raise UserError(
                    f"{self._path}:{self._row}: the row has no end; look at the quotes of this row"
                )
            yield line
