"""The footer of a Parquet file, looked through before pyarrow is asked for a column's part of it.

There pyarrow ends the process where the sizes that a column claims do not fit its schema, and where a
column is encrypted: it checks both, and nothing takes the error. Of Thrift's compact encoding, what is of no
use is passed over.
"""

from pathlib import Path
from typing import TYPE_CHECKING

from xfm.data.tables.parquet_pages import signed, unsigned
from xfm.errors import UserError

if TYPE_CHECKING:
    from pyarrow.parquet import FileMetaData

_GROUPS, _COLUMNS = (4,), (4, 1)
_ENCRYPTED = (4, 1, 8)
_BYTES, _REPETITION, _DEFINITION = ((4, 1, 3, 16, field) for field in (1, 2, 3))
"""Of the sizes that a column claims: bytes of its texts, and how many values have each level."""
_WAY = {path[:depth] for path in (_ENCRYPTED, _BYTES, _REPETITION, _DEFINITION) for depth in range(1, 6)}
_DEEPEST = 16
_END = 8  # bytes behind a footer: its length, and the mark of the format


def check_footer(path: Path, metadata: "FileMetaData") -> None:
    """Refuse a footer that would end the process.

    Args:
        path: of the file.
        metadata: its footer, as pyarrow has read it.

    Raises:
        UserError: a column is encrypted, or what is said of its sizes does not fit its kind.
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        file.seek(-_END, 2)
        length = int.from_bytes(file.read(_END)[:4], "little")
        file.seek(-_END - length, 2)
        told = _Footer(file.read(length))
    try:
        told.structure(0, (), 0)
    except (IndexError, ValueError):
        raise _damaged(path) from None
    if told.encrypted:
        raise UserError(f"{path} has encrypted columns, which are not read; write it without encryption")
    for column, name, count in told.sizes:
        if not 0 <= column < len(metadata.schema):
            raise _damaged(path)
        leaf = metadata.schema.column(column)
        levels = leaf.max_repetition_level if name == _REPETITION else leaf.max_definition_level
        fits = leaf.physical_type == "BYTE_ARRAY" if name == _BYTES else count in (0, levels + 1)
        if not fits:
            raise _damaged(path)


def _damaged(path: Path) -> UserError:
    return UserError(f"{path} is not a Parquet file (its footer is damaged); copy it again")


class _Footer:
    """A footer that is walked through.

    Attributes:
        sizes: number of a column in its group of rows, what is said of it, and how many numbers that takes.
        encrypted: whether any column is.
    """

    def __init__(self, data: bytes) -> None:
        self._data, self._column = data, -1
        self.sizes: list[tuple[int, tuple[int, ...], int]] = []
        self.encrypted = False

    def structure(self, place: int, path: tuple[int, ...] | None, depth: int) -> int:
        """Where a structure ends; raises IndexError and ValueError where it is none."""
        field, data = 0, self._data
        while head := data[place]:
            place, kind = place + 1, head & 15
            if head >> 4:
                field += head >> 4
            else:
                field, place = signed(data, place)
            inner = None if path is None else (*path, field)
            place = self._value(place, kind, inner if inner in _WAY else None, depth)
        return place + 1

    def _value(self, place: int, kind: int, path: tuple[int, ...] | None, depth: int) -> int:
        """Where a value ends; `path` is that of its field, None where nothing below is of interest."""
        if depth > _DEEPEST:
            raise ValueError("too deep")
        if path == _ENCRYPTED:
            self.encrypted = True
        elif path == _BYTES:
            self.sizes.append((self._column, _BYTES, 1))
        if kind in (1, 2):  # the value is the kind
            return place
        if kind in (4, 5, 6):
            return unsigned(self._data, place)[1]
        if kind in _FIXED:
            return place + _FIXED[kind]
        if kind == 8:
            length, place = unsigned(self._data, place)
            return place + length
        if kind in (9, 10):
            return self._list(place, path, depth)
        if kind == 11:
            return self._map(place, depth)
        if kind == 12:
            return self.structure(place, path, depth + 1)
        raise ValueError("no value")

    def _list(self, place: int, path: tuple[int, ...] | None, depth: int) -> int:
        head = self._data[place]
        place, count, kind = place + 1, head >> 4, head & 15
        if count == 15:
            count, place = unsigned(self._data, place)
        if path in (_REPETITION, _DEFINITION):
            self.sizes.append((self._column, path, count))
        for number in range(count):
            if path == _COLUMNS:
                self._column = number
            place = self._item(place, kind, path, depth)
        return place

    def _map(self, place: int, depth: int) -> int:
        count, place = unsigned(self._data, place)
        if count:
            kinds, place = self._data[place], place + 1
            for _ in range(count):
                for kind in (kinds >> 4, kinds & 15):
                    place = self._item(place, kind, None, depth)
        return place

    def _item(self, place: int, kind: int, path: tuple[int, ...] | None, depth: int) -> int:
        """Where an item of a list ends; a truth takes a byte there."""
        if kind in (1, 2):
            self._data[place]  # the end of the data is one of the list
            return place + 1
        return self._value(place, kind, path, depth + 1)


_FIXED = {3: 1, 7: 8, 13: 16}
"""Bytes of a value by its kind: a byte, a fraction, a UUID."""
