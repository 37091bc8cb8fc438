"""CSV and TSV with a header; quoted cells may hold line breaks."""

import csv
from collections.abc import Iterator
from pathlib import Path

from xfm.data.records import Limits
from xfm.data.tables.records import Records, unreadable
from xfm.errors import UserError

_DELIMITERS = (",", ";", "\t", "|")


def read_csv(path: Path, wanted: frozenset[str]) -> Records:
    """A CSV file; the delimiter is the one of `, ; tab |` that the header has most of."""
    with unreadable(path):
        header = _open_first_line(path)
    return _read(path, max(_DELIMITERS, key=header.count), wanted)


def read_tsv(path: Path, wanted: frozenset[str]) -> Records:
    """A file with tabs between its cells."""
    return _read(path, "\t", wanted)


def _open_first_line(path: Path) -> str:
    with path.open(encoding="utf-8-sig", newline="") as file:
        return file.readline(1 << 20)


def _read(path: Path, delimiter: str, wanted: frozenset[str]) -> Records:
    with unreadable(path), path.open(encoding="utf-8-sig", newline="") as file:
        header = next(csv.reader(file, delimiter=delimiter), [])
    names = [name.strip() for name in header]
    if not any(names):
        raise UserError(f"{path}: the first line names no columns; write a header, such as text,label")
    if twice := sorted({name for name in names if name and names.count(name) > 1}):
        raise UserError(f"{path}: the column {twice[0]!r} is there twice; rename one of them")
    return Records(tuple(names), _rows(path, delimiter, names, wanted))


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
