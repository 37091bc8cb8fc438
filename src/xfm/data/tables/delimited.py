"""CSV and TSV with a header; quoted cells may hold line breaks."""

import csv
from collections.abc import Iterator
from pathlib import Path

from xfm.data.records import Limits
from xfm.data.tables.records import Records, unreadable
from xfm.errors import UserError

_DELIMITERS = (",", ";", "\t", "|")


def read_delimited(path: Path, wanted: frozenset[str]) -> Records:
    """A CSV or TSV file.

    Raises:
        UserError: see `read_header`; from the rows, one that cannot be read.
    """
    delimiter, names = read_header(path)
    return Records(tuple(names), _rows(path, delimiter, names, wanted))


def read_header(path: Path) -> tuple[str, list[str]]:
    """Delimiter and names of the columns: tabs in a `.tsv`, else what the header has most of, of `, ; tab |`.

    Raises:
        UserError: the file cannot be read, its first line names no columns, or one of them twice.
    """
    with unreadable(path), path.open(encoding="utf-8-sig", newline="") as file:
        first = file.readline(1 << 20)
        file.seek(0)
        delimiter = "\t" if path.suffix.lower() == ".tsv" else max(_DELIMITERS, key=first.count)
        try:
            names = [name.strip() for name in next(csv.reader(file, delimiter=delimiter), [])]
        except csv.Error as error:
            raise UserError(f"{path}:1: the header cannot be read ({error}); is it a table?") from None
    if not any(names):
        raise UserError(f"{path}: the first line names no columns; write a header, such as text,label")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise UserError(f"{path}: the column {twice[0]!r} is there twice; rename one of them")
    return delimiter, names


def _rows(
    path: Path, delimiter: str, names: list[str], wanted: frozenset[str]
) -> Iterator[tuple[int, dict[str, object]]]:
    """The cells of the wanted columns; rows are numbered by the line that they begin on."""
    limit = Limits().annotation_bytes
    before = csv.field_size_limit(limit)
    line = 1
    try:
        with unreadable(path), path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, delimiter=delimiter, strict=True)
            next(reader)
            line = reader.line_num + 1
            for cells in reader:
                number, line = line, reader.line_num + 1
                if not cells or cells == [""]:
                    continue
                if len(cells) != len(names):
                    raise UserError(
                        f"{path}:{number}: the row has {len(cells)} cells, but there are {len(names)} "
                        f"columns; put quotes around cells that hold {delimiter!r} or line breaks"
                    )
                yield number, {n: c for n, c in zip(names, cells, strict=True) if n in wanted}
    except csv.Error as error:
        raise UserError(
            f"{path}:{line}: the row cannot be read ({error}); look at the quotes of this row"
        ) from None
    finally:
        csv.field_size_limit(before)
