"""Tasks whose rows have classes by name: batch, loss, metrics, guesses and cases that they share."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfm.config.task import TaskConfig
from xfm.data.schema import TensorFields, Tokens
from xfm.metrics.classes import Choice, class_hits, class_metrics
from xfm.metrics.classification import chance_of_classes
from xfm.modeling.folder import Pretrained
from xfm.objectives.losses import Losses
from xfm.tasks.base import Task
from xfm.tasks.cases import Case
from xfm.tasks.classes import Labels, most_frequent_label
from xfm.tasks.pictures import Pictures
from xfm.tasks.settings import TaskSettings
from xfm.tasks.splits import SplitRows


class Classified(Protocol):
    """A row with a class: its name, or true and false."""

    @property
    def label(self) -> str | bool | float:
        """The class."""
        ...


RowT = TypeVar("RowT", bound=Classified)


@dataclass(frozen=True)
class ClassBatch(TensorFields):
    """Rows with classes or values.

    Attributes:
        targets: [R] int64 classes, or float32 values of a regression.
        pixels: [I, 3, S, S] float32 distinct pictures; None where rows have none.
        tokens: [R, T] texts, a pair as one sequence; None where rows have none.
        index: [R, K] int64, the pictures of each row; None where row r has picture r, or none.
    """

    targets: Tensor
    pixels: Tensor | None = None
    tokens: Tokens | None = None
    index: Tensor | None = None


def label_name(label: str | bool | float) -> str:
    """A class by name: true and false have these names."""
    return str(label).lower() if isinstance(label, bool) else str(label)


def classification_losses(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Losses:
    """Cross-entropy of a classification head.

    Args:
        logits: [R, C] float.
        labels: [R] int64 in [0, C).
        label_smoothing: share of the target that is spread over all classes.
    """
    loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    right = (logits.detach().argmax(-1) == labels).float().mean()
    return Losses(total=loss, parts={"cross_entropy": loss}, metrics={"accuracy": right})


def regression_losses(values: Tensor, targets: Tensor) -> Losses:
    """Mean squared error of a head with one output.

    Args:
        values: [R, 1] float.
        targets: [R] float.
    """
    loss = nn.functional.mse_loss(values.float()[:, 0], targets.float())
    return Losses(total=loss, parts={"mse": loss})


class ClassTask(Task[RowT, ClassBatch, Choice]):
    """A task with one class a row: what it adds to this class is how rows are read.

    Attributes:
        labels: the classes, in the order of the head's outputs.
        usual: names of the classes where the data has none.
    """

    primary: ClassVar[str] = "accuracy"
    usual: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self, pretrained: Pretrained, pictures: Pictures, data: SplitRows[RowT], settings: TaskSettings
    ) -> None:
        self.labels = Labels(data.labels or self.usual)
        self.known = self.labels.names
        super().__init__(pretrained, pictures, data, settings)

    def described(self, data: SplitRows[RowT], **more: Any) -> TaskConfig:
        """With the classes."""
        names = self.labels.names
        return super().described(data, classes=len(names), labels=names, **more)

    def collate(self, rows: Sequence[RowT]) -> ClassBatch:
        """Texts, pictures and classes of the rows."""
        targets = self.labels.indices([self.class_of(row) for row in rows])
        pixels, index = self.shown(rows) if self.spec.has_pictures else (None, None)
        return ClassBatch(targets, pixels, self.tokens(rows) if self.spec.has_texts else None, index)

    def tokens(self, rows: Sequence[RowT]) -> Tokens:
        """[R, T] the text of each row."""
        return self.encode([self.texts_of(row)[0] for row in rows])

    def logits(self, batch: ClassBatch) -> Tensor:
        """[R, C]."""
        return self.module(batch.pixels, batch.tokens, batch.index)

    def loss(self, batch: ClassBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy."""
        return classification_losses(self.logits(batch), batch.targets)

    def predict_batch(self, batch: ClassBatch) -> list[Choice]:
        """The likeliest class of each row."""
        return self.labels.choices(self.logits(batch))

    @classmethod
    def class_of(cls, row: RowT) -> str:
        """The row's class."""
        return label_name(row.label)

    def truths(self, row: RowT) -> tuple[str, ...]:
        """Its class."""
        return (self.class_of(row),)

    def metrics(self, rows: Sequence[RowT], predictions: Sequence[Choice]) -> dict[str, float]:
        """Accuracy, mean F1 and more, see `class_metrics`."""
        return class_metrics([self.class_of(row) for row in rows], predictions, self.labels.names)

    def row_scores(
        self, rows: Sequence[RowT], predictions: Sequence[Choice]
    ) -> dict[str, NDArray[np.float64]]:
        """Whether each class is right."""
        return {"accuracy": class_hits([self.class_of(row) for row in rows], predictions)}

    def guess(self, rows: Sequence[RowT], rng: np.random.Generator) -> list[Choice]:
        """Classes drawn uniformly."""
        return self.labels.guess(len(rows), rng)

    def known_chance(self, rows: Sequence[RowT]) -> dict[str, float]:
        """The accuracies."""
        return chance_of_classes(len(self.labels.names))

    def constants(self, rows: Sequence[RowT]) -> dict[str, list[Choice]]:
        """The most frequent class of the training rows."""
        usual = most_frequent_label([self.class_of(row) for row in self.train_rows])
        return {"most frequent class": [self.labels.certain(usual)] * len(rows)}

    def case(self, row: RowT, prediction: Choice) -> Case:
        """The wrong classes that the model was surest of are the worst."""
        truth = self.class_of(row)
        return Case(
            truth=truth,
            predicted=prediction.label,
            right=prediction.label == truth,
            badness=1 - self.labels.probability(prediction, truth),
            texts=tuple(("", text) for text in self.texts_of(row)),
            pictures=self.pictures_of(row),
            confidence=max(prediction.probabilities),
        )
