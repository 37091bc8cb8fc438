"""Rows that are made when they are asked for: a million pictures as a few megabytes of names."""

from abc import abstractmethod
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TypeVar, overload

from xfm.tasks.rows import Labelled

T = TypeVar("T")


class LazyRows(Sequence[T]):
    """A sequence that never changes and keeps no row; a part of it is a list."""

    @abstractmethod
    def at(self, place: int) -> T:
        """The row at a place from 0 on."""

    @overload
    def __getitem__(self, place: int) -> T: ...
    @overload
    def __getitem__(self, place: slice) -> Sequence[T]: ...
    def __getitem__(self, place: int | slice) -> T | Sequence[T]:
        if isinstance(place, slice):
            return [self.at(one) for one in range(*place.indices(len(self)))]
        where = place + len(self) if place < 0 else place
        if not 0 <= where < len(self):
            raise IndexError(place)
        return self.at(where)


class ClassFolders(LazyRows[Labelled]):
    """Labelled pictures of a folder with a folder a class; names by class, sorted."""

    def __init__(self, folder: Path, classes: Mapping[str, Sequence[str]]) -> None:
        self.folder, self.labels = folder, tuple(classes)
        self._names = ["\0".join(names) for names in classes.values()]
        self._ends: list[array[int] | None] = [None] * len(self._names)
        self._stops = array("Q", accumulate(map(len, classes.values())))

    def __len__(self) -> int:
        return self._stops[-1] if self._stops else 0

    def at(self, place: int) -> Labelled:
        """The picture at a place, in the order of the classes and of their names."""
        number = bisect_right(self._stops, place)
        own = place - (self._stops[number - 1] if number else 0)
        return Labelled(self.folder / self.labels[number] / self._name(number, own), self.labels[number])

    def __iter__(self) -> Iterator[Labelled]:
        for label, names in zip(self.labels, self._names, strict=True):
            below = self.folder / label
            for name in names.split("\0") if names else ():
                yield Labelled(below / name, label)

    def _name(self, number: int, own: int) -> str:
        ends = self._ends[number]
        if ends is None:  # where each name ends, and the NUL behind it: not before a class is asked for
            ends = array("Q", accumulate(len(name) + 1 for name in self._names[number].split("\0")))
            self._ends[number] = ends
        return self._names[number][ends[own - 1] if own else 0 : ends[own] - 1]


class ChosenRows(LazyRows[T]):
    """Rows of others by their places."""

    def __init__(self, rows: Sequence[T], places: Iterable[int]) -> None:
        self._rows, self._places = rows, array("Q", places)

    def __len__(self) -> int:
        return len(self._places)

    def at(self, place: int) -> T:
        """The row at a place among the chosen."""
        return self._rows[self._places[place]]
