"""What the pages of a Parquet file say they expand to, read before anything is expanded.

The footer sums sizes up, but whoever wrote it may lie; decompressors go by the headers of the pages.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from xfm.data.tables.thrift import INT32, STRUCTURE, Ways, walk
from xfm.errors import UserError

if TYPE_CHECKING:
    from pyarrow.parquet import ColumnChunkMetaData, FileMetaData

MAX_PAGE = 512 << 20
"""Bytes of a page at most, expanded; writers aim at one MiB."""
MAX_HEADER = 1 << 20
"""Bytes of a page's header, which may hold the least and the greatest value."""
ROWS, _BYTES = 256, 64 << 20  # of a batch at most; rows may hold pictures
_LARGE_DICTIONARY = 64 << 20
_FREE = 1_000_000  # rows, or values of lists, that any file may have
_DATA, _DICTIONARY, _DATA_2 = 5, 7, 8  # fields of a page's header that hold the header of its kind
_WAYS: Ways = {2: {}, 3: {}, _DATA: {1: {}}, _DICTIONARY: {1: {}}, _DATA_2: {1: {}}}
"""Of a header: bytes of the page, expanded and stored, and the number of its values."""


@dataclass(frozen=True)
class Page:
    """A page's header.

    Attributes:
        expanded: bytes of the page when it is expanded.
        stored: bytes in the file.
        values: in the page, nulls included.
        dictionary: whether it holds the values that rows refer to, each once.
    """

    expanded: int
    stored: int
    values: int
    dictionary: bool


def check_rows(path: Path, metadata: "FileMetaData") -> None:
    """Refuse a file of far more rows than it has bytes: a run of one value takes none of either.

    Raises:
        UserError: names the file and both numbers.
    """
    size = os.path.getsize(path)
    if metadata.num_rows > max(_FREE, size):
        raise UserError(
            f"{path} claims {metadata.num_rows} rows in {size} bytes, more than will be read; write "
            "a file of fewer rows"
        )


@dataclass(frozen=True)
class GroupPlan:
    """How a group of rows is read.

    Attributes:
        rows: at once.
        once: columns of texts and bytes whose values are read once each, however many rows hold them.
    """

    rows: int
    once: list[str]


def plan_group(path: Path, metadata: "FileMetaData", group: int, columns: frozenset[str]) -> GroupPlan:
    """How a group of rows is read in no more than some 64 MiB at a time, beside a page and a dictionary.

    Args:
        path: the file.
        metadata: its footer.
        group: number of the group of rows.
        columns: names of the columns that will be read.

    Raises:
        UserError: a page would expand to more than MAX_PAGE, or a column of lists is out of all proportion.
    """
    told, widest, once, rows = metadata.row_group(group), 0, [], ROWS
    with path.open("rb") as file:
        for number in range(told.num_columns):
            leaf = metadata.schema.column(number)
            name = leaf.path.split(".")[0]
            if name not in columns:
                continue
            column = _column(path, file, told.column(number), name)
            nested = leaf.max_repetition_level > 0
            if nested and column.values > max(_FREE, 64 * column.stored):
                raise UserError(
                    f'{path}: the lists of the column "{name}" claim {column.values} values in '
                    f"{column.stored} bytes, more than will be read; write the column anew"
                )
            widest += column.widest * (max(1, column.values // max(1, told.num_rows)) if nested else 1)
            # A batch brings its dictionary along: of a large one, single rows take less.
            if leaf.physical_type != "BYTE_ARRAY" or leaf.logical_type.type not in ("NONE", "STRING", "JSON"):
                continue
            if nested or column.dictionary <= _LARGE_DICTIONARY:
                once.append(leaf.path)
            else:
                rows = 1
    return GroupPlan(max(1, min(rows, _BYTES // max(1, widest))), once)


@dataclass
class _Column:
    """Sums over the pages of a column: the widest row by the means of pages, values, bytes."""

    widest: int = 0
    values: int = 0
    stored: int = 0
    dictionary: int = 0


def _column(path: Path, file: BinaryIO, chunk: "ColumnChunkMetaData", name: str) -> _Column:
    found = _Column()
    starts = [chunk.data_page_offset]
    if chunk.has_dictionary_page and chunk.dictionary_page_offset:
        starts.append(chunk.dictionary_page_offset)
    for page in _pages(path, file, min(starts), chunk.total_compressed_size):
        if page.expanded > MAX_PAGE:
            raise UserError(
                f'{path}: a page of the column "{name}" expands from {page.stored} to {page.expanded} bytes, '
                f"more than the limit of {MAX_PAGE}; write the file with smaller pages"
            )
        found.stored += page.stored
        if page.dictionary:  # it stands in memory once, however many rows are read
            found.dictionary += page.expanded
        else:
            found.values += page.values
            found.widest = max(found.widest, page.expanded // max(1, page.values))
    return found


def _pages(path: Path, file: BinaryIO, start: int, length: int) -> Iterator[Page]:
    place, end = start, start + length
    while place < end:
        file.seek(place)
        try:
            page, size = read_page_header(file.read(4096))
        except IndexError:  # with long least and greatest values
            file.seek(place)
            try:
                page, size = read_page_header(file.read(MAX_HEADER))
            except (IndexError, ValueError):
                raise _damaged(path, place) from None
        except ValueError:
            raise _damaged(path, place) from None
        if min(page.expanded, page.stored, page.values) < 0:
            raise _damaged(path, place)
        yield page
        place += size + page.stored


def _damaged(path: Path, place: int) -> UserError:
    return UserError(f"{path} is damaged: there is no page at byte {place}; copy it again")


def read_page_header(data: bytes) -> tuple[Page, int]:
    """A page's header, and how many bytes it takes.

    Raises:
        IndexError: the data end within it.
        ValueError: it is none.
    """
    numbers: dict[tuple[int, ...], int] = {}

    def told(way: tuple[int, ...], kind: int, number: int) -> None:
        # Readers pass over a number of another kind, and take the last one of two: here neither is a header.
        if way in numbers or kind not in (INT32, STRUCTURE):
            raise ValueError("no header of a page")
        if kind == INT32:
            numbers[way] = number

    end = walk(data, _WAYS, told)
    values = [numbers[kind, 1] for kind in (_DATA, _DICTIONARY, _DATA_2) if (kind, 1) in numbers]
    if len(values) > 1 or not {(2,), (3,)} <= set(numbers):
        raise ValueError("no header of a page")
    return Page(numbers[2,], numbers[3,], sum(values), (_DICTIONARY, 1) in numbers), end
