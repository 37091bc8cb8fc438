"""CSV and TSV with a header; quoted cells may hold line breaks."""

import contextlib
import csv
import io
from collections.abc import Generator, Iterator
from itertools import islice
from pathlib import Path
from typing import TextIO

from xfm.config.tables import table_kind
from xfm.core.errors import UserError
from xfm.data.images import MAX_BYTES
from xfm.data.records import MAX_ANNOTATION
from xfm.data.tables.records import RawRow, Records, open_stored, refuse_double_columns, stored_size

LONGEST_LINE = MAX_BYTES
"""Characters of a line, or of a row of several, at most, lest a file without line breaks be read whole."""


def read_delimited(path: Path) -> Records:
    """A CSV or TSV file (tab, or the most frequent of `, ; tab |`); rows are numbered by the line
    that they begin on. Raises UserError."""
    size = stored_size(path)
    with open_stored(path) as stored, io.TextIOWrapper(stored, "utf-8-sig", newline="") as file:
        first = file.readline(1 << 20)
    delimiter = "\t" if table_kind(path) == ".tsv" else max(",;\t|", key=first.count)
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
            remedy = f"put quotes around cells that hold {delimiter!r} or line breaks"
            flaw = f"the row has {len(cells)} cells, but there are {len(names)} columns; {remedy}"
            yield RawRow(number, read=read, flaw=flaw)

    return Records(tuple(names), rows, size, "B", typed=False)


def _cells(path: Path, delimiter: str) -> Generator[tuple[int, list[str], int]]:
    """First line, cells, and characters read up to its end, of every row that is not blank."""
    before = csv.field_size_limit(MAX_ANNOTATION)
    row, begun, read = 1, 0, 0  # the line and the character where the row at hand begins, and those read

    def lines(file: TextIO) -> Iterator[str]:
        nonlocal read
        while line := file.readline(LONGEST_LINE + 1):
            read += len(line)
            if read - begun > LONGEST_LINE:
                raise UserError(f"{path}:{row}: the row has no end; look at its quotes and line breaks")
            yield line

    try:
        with open_stored(path) as stored, io.TextIOWrapper(stored, "utf-8-sig", newline="") as file:
            reader = csv.reader(lines(file), delimiter=delimiter, strict=True)
            for cells in reader:
                number, row, begun = row, reader.line_num + 1, read
                if cells and cells != [""]:
                    yield number, cells, read
    except csv.Error as error:
        raise UserError(f"{path}:{row}: the row cannot be read ({error}); look at its quotes") from None
    finally:
        csv.field_size_limit(before)
