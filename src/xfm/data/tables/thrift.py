"""Structures in Thrift's compact encoding, of which the heads and footers of Parquet files are made.

Walked through without being built: what nobody asked for is passed over.
"""

from collections.abc import Callable
from typing import TypeAlias

Ways: TypeAlias = "dict[int, Inside]"
"""Numbers of fields, with what lies within each."""
Inside: TypeAlias = "Ways | int"
"""Fields of a structure, or of those in a list; of a list of anything else the kind of its items. Readers go
by what the format has in a list, whatever it says of itself: one that says something else is refused."""
Told = Callable[[tuple[int, ...], int, int], None]
"""Hears of a field: numbers of fields and places in lists that lead to it; its kind; and its own number
if it is whole, the count of a list, else 0."""
INT32, INT64, TEXT, STRUCTURE = 5, 6, 8, 12
"""Kinds of values."""
_DEEPEST = 16
_FIXED = {3: 1, 7: 8, 13: 16}
"""Bytes of a value by its kind: a byte, a fraction, a UUID."""
_NOTHING: Ways = {}


def walk(data: bytes, ways: Ways, told: Told) -> int:
    """Walk through the structure that data begin with.

    Args:
        data: bytes that nobody vouches for.
        ways: the fields that are told.
        told: called with each of them, in their order.

    Returns:
        Where it ends.

    Raises:
        IndexError: the data end within it.
        ValueError: it is none.
    """
    return _Walk(data, told).structure(0, ways, (), 0)


class _Walk:
    """A way through data, from place to place: everything returns where it ends."""

    def __init__(self, data: bytes, told: Told) -> None:
        self._data, self._told = data, told

    def structure(self, place: int, ways: Ways, path: tuple[int, ...], depth: int) -> int:
        """Field after field, until one of kind 0."""
        field, data = 0, self._data
        while head := data[place]:
            place, kind = place + 1, head & 15
            if head >> 4:
                field += head >> 4
            else:
                field, place = _signed(data, place)
            inner, way = (ways[field], (*path, field)) if field in ways else (_NOTHING, ())
            place = self._value(place, kind, inner, way, depth)
        return place + 1

    def _value(self, place: int, kind: int, ways: Inside, path: tuple[int, ...], depth: int) -> int:
        if depth > _DEEPEST:
            raise ValueError("too deep")
        if kind in (4, INT32, INT64):
            number, place = _signed(self._data, place)
            if path:
                self._told(path, kind, number)
            return place
        if kind in (9, 10):
            return self._list(place, kind, ways, path, depth)
        if path:
            self._told(path, kind, 0)
        if kind in (1, 2):  # the value is the kind
            return place
        if kind in _FIXED:
            return self._over(place, _FIXED[kind])
        if kind == TEXT:
            length, place = _unsigned(self._data, place)
            return self._over(place, length)
        if kind == 11:
            return self._map(place, depth)
        if kind == STRUCTURE:
            return self.structure(place, ways if isinstance(ways, dict) else _NOTHING, path, depth + 1)
        raise ValueError("no value")

    def _over(self, place: int, count: int) -> int:
        if count > len(self._data) - place:
            raise IndexError("the data end")
        return place + count

    def _list(self, place: int, own: int, ways: Inside, path: tuple[int, ...], depth: int) -> int:
        head = self._data[place]
        place, count, kind = place + 1, head >> 4, head & 15
        if count == 15:
            count, place = _unsigned(self._data, place)
        self._over(place, count)  # an item takes a byte at least
        inner, wanted = (ways, STRUCTURE) if isinstance(ways, dict) else (_NOTHING, ways)
        if path:
            if count and kind != wanted:
                raise ValueError("a list of something else")
            self._told(path, own, count)
        for number in range(count):
            place = self._item(place, kind, inner, (*path, number) if inner else (), depth)
        return place

    def _map(self, place: int, depth: int) -> int:
        count, place = _unsigned(self._data, place)
        if count:
            self._over(place, count)
            kinds, place = self._data[place], place + 1
            for _ in range(count):
                for kind in (kinds >> 4, kinds & 15):
                    place = self._item(place, kind, _NOTHING, (), depth)
        return place

    def _item(self, place: int, kind: int, ways: Ways, path: tuple[int, ...], depth: int) -> int:
        """An item of a list or a map, which is not told, but fields in it are; a truth takes a byte there."""
        if kind in (1, 2):
            return self._over(place, 1)
        if kind == STRUCTURE:
            return self.structure(place, ways, path, depth + 1)
        return self._value(place, kind, _NOTHING, (), depth + 1)


def _unsigned(data: bytes, place: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[place]
        value, shift, place = value | (byte & 127) << shift, shift + 7, place + 1
        if byte < 128:
            return value, place
        if shift > 63:
            raise ValueError("no number")


def _signed(data: bytes, place: int) -> tuple[int, int]:
    value, place = _unsigned(data, place)
    return (value >> 1) ^ -(value & 1), place
