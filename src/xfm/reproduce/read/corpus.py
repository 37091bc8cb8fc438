"""A benchmark's rows, split as its authors split them."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Generic, TypeVar

from xfm.errors import UserError

R = TypeVar("R")


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
    """

    train: Sequence[R]
    scored: Mapping[str, Sequence[R]]
    hidden: Mapping[str, Sequence[R]] = field(default_factory=dict[str, Sequence[R]])
    classes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    chooses: bool = True

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
    folder = os.path.dirname(path)
    if not (os.path.isfile(path) or (os.path.isdir(folder) and os.listdir(folder))):
        raise UserError(f"{path} does not exist; {where}")
