"""JSON lines: an object a row, each with columns of its own."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from xfm.data.records import Limits
from xfm.data.tables.records import RawRow, Records
from xfm.data.tables.stored import open_stored, stored_size

NO_OBJECT = "the row is not a JSON object; mend the row"


@dataclass(frozen=True)
class Line:
    """A line that is not blank: its number from 1, bytes, bytes of the file up to its end, and whether it was
    cut as too long."""

    number: int
    data: bytes
    read: int
    too_long: bool

    def text(self) -> str:
        """The line as UTF-8; raises UnicodeDecodeError."""
        return self.data.decode("utf-8-sig" if self.number == 1 else "utf-8")


def numbered_lines(file: BinaryIO) -> Iterator[Line]:
    """The lines that are not blank; of one that is cut, the rest is read when the next is asked for."""
    limit, read, number = Limits().annotation_bytes, 0, 0
    while data := file.readline(limit + 1):
        number += 1
        read += len(data)
        too_long = len(data) > limit and not data.endswith(b"\n")
        if too_long or data.strip():
            yield Line(number, data, read, too_long)
        while too_long and (data := file.readline(limit)):
            read += len(data)
            too_long = not data.endswith(b"\n")


def each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object; raises ValueError where it has a key twice."""
    if len(found := dict(pairs)) < len(pairs):
        twice = next(name for name, count in Counter(name for name, _ in pairs).items() if count > 1)
        raise ValueError(f"the key {twice!r} is there twice")
    return found


def json_row(line: Line) -> RawRow:
    """The row of a JSON line."""

    def bad(flaw: str) -> RawRow:
        return RawRow(line.number, read=line.read, flaw=flaw)

    if line.too_long:
        return bad(f"the row is longer than {Limits().annotation_bytes} bytes; mend the row")
    try:
        values = json.loads(line.text(), object_pairs_hook=each_once)
    except UnicodeDecodeError as error:
        return bad(f"the row is not UTF-8 ({error.reason}); save the file as UTF-8")
    except (ValueError, RecursionError) as error:
        return bad(f"the row is not valid JSON ({error}); mend the row")
    if not isinstance(values, dict):
        return bad(NO_OBJECT)
    return RawRow(line.number, values, line.read)


def read_json_lines(path: Path) -> Records:
    """A file with a JSON object on every line that is not blank. Raises UserError."""

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        with open_stored(path) as file:
            yield from map(json_row, numbered_lines(file))

    return Records(None, rows, stored_size(path), "B")
