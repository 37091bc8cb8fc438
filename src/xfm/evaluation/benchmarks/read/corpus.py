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
    """Rows of a benchmark.

    Attributes:
        train: rows to train on.
        scored: rows with published answers by the name of their split; the first split chooses between
            epochs, unless `chooses` is False.
        hidden: rows whose answers are not published, by split: for submissions. What a row must have as its
            answer is a placeholder there.
        classes: names of the classes in the order of the outputs; empty for tasks without classes.
        answers: the list of answers that questions are ranked on; empty for the answers of the training rows.
        chooses: whether the first scored split chooses between epochs; else the last one counts, because
            these rows are the test.
        left_out: why rows that should be trained on are none of these, by file and row.
        reports: what else the files hold that is not read.
        notes: what the reader decided where the files leave it open, by what it is about.
        validation: rows with which a probe chooses its penalty, and that it is fitted to afterwards; without,
            it takes a share of the training rows.
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
        """The rows that choose between epochs; none where the last epoch counts."""
        return next(iter(self.scored.values()), ()) if self.chooses else ()

    def thinned(self, train: int, test: int) -> "Corpus[R]":
        """The same with some rows of every split only, evenly spaced, for a smoke run."""
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
    """Say at once, and not after the first epoch, that the pictures are somewhere else.

    Args:
        path: a picture that should be there.
        where: which folder holds the pictures in the official layout.

    Raises:
        UserError: there is nothing in its folder; a single picture may be missing.
    """
    if not _is_there(path):
        raise UserError(f"{path} does not exist; {where}")


def folder_of(places: Sequence[Path], picture: Path, where: str) -> Path:
    """The first of several folders in which the pictures are.

    Args:
        places: the folders.
        picture: one that should be there, below one of them.
        where: which folder holds the pictures in the official layout.

    Raises:
        UserError: there is nothing where it should be in any of them; says what was found.
    """
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
