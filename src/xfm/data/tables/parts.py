"""Parts of a table that are read one after the other, at the cost of one reading."""

from collections.abc import Iterator
from itertools import chain

from xfm.data.tables.records import RawRow, Records


class TableParts:
    """Reads runs of rows of a table by their numbers."""

    def __init__(self, table: Records, wanted: frozenset[str]) -> None:
        self._table, self._wanted = table, wanted
        self._ahead: tuple[RawRow, Iterator[RawRow]] | None = None  # the next row, and those after it

    def part(self, first: int, last: int | None) -> Iterator[RawRow]:
        """The rows from `first` up to, but without, `last` (None: the end). A part that begins where the last
        one ended goes on there; others are looked for from the beginning."""
        ahead, self._ahead = self._ahead, None
        if ahead is None or ahead[0].number > first:
            begun, rows = list[RawRow](), iter(self._table.rows(self._wanted))
        else:
            begun, rows = [ahead[0]], ahead[1]
        for raw in chain(begun, rows):
            if last is not None and raw.number >= last:
                self._ahead = raw, rows
                return
            if raw.number >= first:
                yield raw


def part_starts(rows: Iterator[RawRow], size: int) -> tuple[list[int], int]:
    """The number of the first row of each run of `size` rows, and how many rows there are."""
    found, count = list[int](), 0
    for raw in rows:
        if count % size == 0:
            found.append(raw.number)
        count += 1
    return found, count
