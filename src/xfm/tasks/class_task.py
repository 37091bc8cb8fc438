"""Tasks whose rows have classes by name: metrics, guesses and cases that they share."""

from collections.abc import Sequence
from typing import ClassVar, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from xfm.data.schema import TensorFields
from xfm.tasks.base import TaskSettings
from xfm.tasks.classes import TOP, Choice, Labels, class_metrics, most_frequent
from xfm.tasks.own import Case, OwnTask


class Classified(Protocol):
    """A row with a class: its name, or true and false."""

    @property
    def label(self) -> str | bool | float:
        """The class."""
        ...


RowT = TypeVar("RowT", bound=Classified)
BatchT = TypeVar("BatchT", bound=TensorFields)


def label_name(label: str | bool | float) -> str:
    """A class by name: true and false have these names."""
    return str(label).lower() if isinstance(label, bool) else str(label)


class ClassTask(OwnTask[RowT, BatchT, Choice]):
    """A task with one class a row.

    Attributes:
        labels: the classes, in the order of the head's outputs.
    """

    primary: ClassVar[str] = "accuracy"

    def __init__(self, settings: TaskSettings, train: Sequence[RowT], labels: Sequence[str]) -> None:
        super().__init__(settings, train)
        self.labels = Labels(tuple(labels))

    @classmethod
    def class_of(cls, row: RowT) -> str:
        """The row's class."""
        return label_name(row.label)

    def metrics(self, rows: Sequence[RowT], predictions: Sequence[Choice]) -> dict[str, float]:
        """Accuracy, mean F1 and more, see `class_metrics`."""
        return class_metrics([self.class_of(row) for row in rows], predictions, self.labels.names)

    def per_row(self, rows: Sequence[RowT], predictions: Sequence[Choice]) -> NDArray[np.float64]:
        """Whether each class is right."""
        pairs = zip(rows, predictions, strict=True)
        return np.array([float(self.class_of(row) == one.label) for row, one in pairs])

    def guess(self, rows: Sequence[RowT], rng: np.random.Generator) -> list[Choice]:
        """Classes drawn uniformly."""
        return self.labels.guess(len(rows), rng)

    def chance(self, rows: Sequence[RowT], seed: int) -> dict[str, float]:
        """What random guesses score; the accuracies exactly."""
        found, count = super().chance(rows, seed), len(self.labels.names)
        exact = {"accuracy": 1 / count, "top5": TOP / count}
        return {name: exact.get(name, value) for name, value in found.items()}

    def constants(self, rows: Sequence[RowT]) -> dict[str, list[Choice]]:
        """The most frequent class of the training rows."""
        usual = most_frequent([self.class_of(row) for row in self.train_rows])
        return {"most frequent class": [self.labels.certain(usual)] * len(rows)}

    def case(self, row: RowT, prediction: Choice) -> Case:
        """The wrong classes that the model was surest of are the worst."""
        truth = self.class_of(row)
        return Case(
            truth=truth,
            predicted=prediction.label,
            right=prediction.label == truth,
            badness=1 - self.labels.probability(prediction, truth),
            texts=self.named_texts(row),
            pictures=self.pictures_of(row),
            confidence=max(prediction.probabilities),
        )

    def named_texts(self, row: RowT) -> tuple[tuple[str, str], ...]:
        """The row's texts by what they are."""
        return tuple(("", text) for text in self.texts_of(row))
