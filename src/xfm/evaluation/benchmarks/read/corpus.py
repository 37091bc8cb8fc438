"""A benchmark's rows, split as its authors split them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from xfm.core.errors import UserError
from xfm.data.folders import FolderReport

R = TypeVar("R")
_SHOWN = 5


@dataclass(frozen=True)
class Corpus(Generic[R]):
    """Rows of a benchmark, split as published.

    Attributes:
        scored: rows with published answers by split; the first split selects the epoch if `chooses`.
        hidden: rows without published answers, by split, with a placeholder as the answer.
        classes: class names in the order of the outputs; empty for tasks without classes.
        answers: answers that questions are ranked on; empty for those of the training rows.
        left_out: reasons by file and row of training rows that were dropped.
        notes: decisions of the reader where the files leave something open.
        validation: rows that choose a probe's penalty; without, a share of the training rows.
    """

    train: Sequence[R]
    scored: Mapping[str, Sequence[R]]
    hidden: Mapping[str, Sequence[R]] = field(default_factory=dict[str, Sequence[R]])
    classes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    chooses: bool = True
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    reports: tuple[FolderReport, ...] = ()
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    validation: Sequence[R] = ()

    @property
    def valid(self) -> Sequence[R]:
        """Rows that select the epoch; none where the last epoch counts."""
        return next(iter(self.scored.values()), ()) if self.chooses else ()

    def thinned(self, train: int, test: int) -> "Corpus[R]":
        """Some evenly spaced rows of every split, for a smoke run."""
        return replace(
            self,
            train=_spaced(self.train, train),
            scored={name: _spaced(rows, test) for name, rows in self.scored.items()},
            hidden={name: _spaced(rows, test) for name, rows in self.hidden.items()},
            validation=_spaced(self.validation, test),
        )


def _spaced(rows: Sequence[R], count: int) -> Sequence[R]:
    if len(rows) <= count:
        return rows
    return [rows[place * len(rows) // count] for place in range(count)]


def check_picture(path: Path, where: str) -> None:
    """UserError if the folder of a picture is empty or missing; a single picture may be missing."""
    if not _is_there(path):
        raise UserError(f"{path} does not exist; {where}")


def folder_of(places: Sequence[Path], picture: Path, where: str) -> Path:
    """The first of `places` that holds the folder of `picture`; UserError says what was found instead."""
    for place in places:
        if _is_there(place / picture):
            return place
    shown = dict.fromkeys(place if place.is_dir() else place.parent for place in places)
    found = "; ".join(f"{place} holds {_listed(place)}" for place in shown if place.is_dir())
    missing = " and ".join(str(place / picture) for place in places)
    raise UserError(f"{missing} do not exist; {where} ({found or 'there is no such folder'})")


def _is_there(path: Path) -> bool:
    folder = os.path.dirname(path)
    return os.path.isfile(path) or (os.path.isdir(folder) and bool(os.listdir(folder)))


def _listed(folder: Path) -> str:
    names = sorted(os.listdir(folder))
    return (", ".join(names[:_SHOWN]) + (", ..." if len(names) > _SHOWN else "")) or "nothing"
