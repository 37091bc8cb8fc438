"""A value of a text or of two: language token 0 -> MLP head with one output (spec: fine-tuning, STS-B)."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from xfm.config.task import TaskConfig
from xfm.data.tables import TableRow
from xfm.metrics.classification import value_scores
from xfm.models.folder import Pretrained
from xfm.models.task_models import TextClassifier
from xfm.objectives.losses import Losses
from xfm.tasks.base import Task
from xfm.tasks.cases import Case, CellMeaning
from xfm.tasks.class_losses import regression_losses
from xfm.tasks.class_task import ClassBatch
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import LabelledText
from xfm.tasks.settings import TaskSettings
from xfm.tasks.splits import SplitRows
from xfm.tasks.text_classification import OfTexts, read_texts


class TextRegressionTask(OfTexts, Task[LabelledText, ClassBatch, float]):
    """What is the value of the text, or of the pair of texts?

    It is learned on the scale on which the training rows have mean 0 and deviation 1; `finish` works that
    into the last layer, so that the model gives the values themselves.
    """

    primary: ClassVar[str] = "pearson"
    module: TextClassifier

    def __init__(
        self,
        pretrained: Pretrained,
        pictures: Pictures,
        data: SplitRows[LabelledText],
        settings: TaskSettings,
    ) -> None:
        super().__init__(pretrained, pictures, data, settings)
        values = values_of(data.train)
        self.mean, self.deviation = float(values.mean()), float(values.std()) or 1.0

    def described(self, data: SplitRows[LabelledText], **more: Any) -> TaskConfig:
        """With one output, the value."""
        return super().described(data, classes=1, **more)

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> LabelledText:
        """Fields `text` and `label`, and for pairs `text_pair`."""
        text, second = read_texts(row)
        return LabelledText(text, row.value("label"), second)

    def collate(self, rows: Sequence[LabelledText]) -> ClassBatch:
        """Tokens and values of the rows."""
        targets = torch.tensor(values_of(rows), dtype=torch.float32)
        return ClassBatch(targets, tokens=self.tokens(rows))

    def loss(self, batch: ClassBatch, generator: torch.Generator) -> Losses:
        """Mean squared error on the scale of the training rows."""
        targets = (batch.targets - self.mean) / self.deviation
        return regression_losses(self.module(tokens=batch.tokens), targets)

    def predict_batch(self, batch: ClassBatch) -> list[float]:
        """The value of each text."""
        values = self.module(tokens=batch.tokens).float()[:, 0] * self.deviation + self.mean
        return values.tolist()

    @torch.no_grad()
    def finish(self) -> None:
        """Let the last layer give values instead of deviations from the mean; predictions stay the same."""
        head = self.module.head
        last = head[-1] if isinstance(head, nn.Sequential) else head
        assert isinstance(last, nn.Linear)
        last.weight.mul_(self.deviation)
        last.bias.mul_(self.deviation).add_(self.mean)
        self.mean, self.deviation = 0.0, 1.0

    def metrics(self, rows: Sequence[LabelledText], predictions: Sequence[float]) -> dict[str, float]:
        """Pearson and Spearman correlation (0 where all values are equal), and the variance explained."""
        return value_scores(np.asarray(predictions, dtype=np.float64), values_of(rows))

    def guess(self, rows: Sequence[LabelledText], rng: np.random.Generator) -> list[float]:
        """Values of training rows drawn at random."""
        return rng.choice(values_of(self.train_rows), size=len(rows)).tolist()

    def constants(self, rows: Sequence[LabelledText]) -> dict[str, list[float]]:
        """The mean of the training rows."""
        return {"mean of the training rows": [float(values_of(self.train_rows).mean())] * len(rows)}

    def case(self, row: LabelledText, prediction: float) -> Case:
        """The farther away, the worse; within half a deviation of the truth counts as right."""
        truth = value_of(row)
        distance = abs(truth - prediction)
        spread = float(values_of(self.train_rows).std()) or 1.0
        return Case(
            truth=f"{truth:g}",
            predicted=f"{prediction:.3g}",
            right=distance <= spread / 2,
            badness=distance,
            texts=tuple(("", text) for text in self.texts_of(row)),
        )


def value_of(row: LabelledText) -> float:
    """The value of a row."""
    assert not isinstance(row.label, tuple), "a regression reads values"
    return float(row.label)


def values_of(rows: Sequence[LabelledText]) -> np.ndarray:
    """[R] float64 values of the rows."""
    return np.array([*map(value_of, rows)])
