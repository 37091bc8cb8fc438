"""The rows that a task is fine-tuned and tested on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

Row = TypeVar("Row")


@dataclass(frozen=True)
class SplitRows(Generic[Row]):
    """Typed rows of one task (see `xfm.tasks.rows`) by split.

    Attributes:
        train: rows that are learned from; one at least.
        valid: rows that choose the best model and stop the training; without any the last model is kept.
        test: rows that only the final scores see.
        others: further test splits by name, such as `testB` or `mismatched`.
        labels: names of the classes, in the order of the outputs; empty for tasks without classes and for a
            regression.
        answers: the list of answers that questions are ranked over; empty takes the most frequent ones of the
            training rows.
    """

    train: Sequence[Row]
    valid: Sequence[Row] = ()
    test: Sequence[Row] = ()
    others: Mapping[str, Sequence[Row]] = field(default_factory=dict)
    labels: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()

    @property
    def tests(self) -> dict[str, Sequence[Row]]:
        """Every test split that has rows, by its name; `test` comes first."""
        return {name: rows for name, rows in {"test": self.test, **self.others}.items() if rows}
