"""The class of a text or of two, or a value: language token 0 -> MLP head (spec: GLUE, STS-B)."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from xfm.config.task import TaskConfig
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import TEXT_CLASSIFICATION
from xfm.data.collate import padded_tokens
from xfm.data.schema import Tokens
from xfm.data.tables import TableRow
from xfm.metrics.classification import value_scores
from xfm.models.task_models import TextClassifier
from xfm.objectives.losses import Losses
from xfm.tasks.base import HiddenInput, Task
from xfm.tasks.class_task import ClassBatch, ClassTask
from xfm.tasks.labelling import regression_losses
from xfm.tasks.rows import Case, CellMeaning, LabelledText, SplitRows


class TextTask(Task[LabelledText, Any, Any]):
    """What every task on one or two texts a row has: with a class or labels, or a value."""

    spec: ClassVar[TaskSpec] = TEXT_CLASSIFICATION
    hides: ClassVar[Mapping[HiddenInput, str]] = {HiddenInput.FIRST_TEXT: "second text only"}

    def described(self, data: SplitRows[LabelledText], **more: Any) -> TaskConfig:
        return super().described(data, texts=len(self.texts_of(data.train[0])), **more)

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> LabelledText:
        text, second = row.text("text"), row.text("text_pair") if row.has("text_pair") else None
        label = meaning.label(row) if issubclass(cls, ClassTask) else row.value("label")
        return LabelledText(text, label, second)

    def tokens(self, rows: Sequence[LabelledText]) -> Tokens:
        """[R, T] texts, or pairs as one sequence each; ValueError if only some rows have a second text."""
        limit, tokenizer = self.settings.max_tokens, self.tokenizer
        read = ([tokenizer.as_read(self.spec.text, one, limit) for one in self.texts_of(row)] for row in rows)
        columns = [list(column) for column in zip(*read, strict=True)]
        if len(columns) == 2 and self.settings.blanked is not HiddenInput.FIRST_TEXT:
            return padded_tokens(tokenizer.encode_pairs(columns[0], columns[1], limit), tokenizer)
        return padded_tokens(tokenizer.encode_batch(columns[-1], limit), tokenizer)

    @classmethod
    def shared(cls, row: LabelledText) -> tuple[Hashable, ...]:
        """Both texts of a pair: the pairs that were made of the same texts stand or fall together."""
        return () if row.second is None else (row.text, row.second)

    @classmethod
    def single(cls, train: Sequence[LabelledText]) -> dict[HiddenInput, str]:
        return dict(cls.hides) if train[0].second is not None else {}


class TextClassificationTask(TextTask, ClassTask[LabelledText]):
    """The class of a text or a pair; the baseline of pairs blanks the first text."""


class TextRegressionTask(TextTask, Task[LabelledText, ClassBatch, float]):
    """The value of a text or a pair, learned with mean 0 and deviation 1; `finish` works the scale into the
    last layer."""

    primary: ClassVar[str] = "pearson"
    module: TextClassifier

    def prepare(self, data: SplitRows[LabelledText]) -> None:
        values = values_of(data.train)
        self.mean, self.deviation = float(values.mean()), float(values.std()) or 1.0

    def described(self, data: SplitRows[LabelledText], **more: Any) -> TaskConfig:
        return super().described(data, classes=1, **more)

    def collate(self, rows: Sequence[LabelledText]) -> ClassBatch:
        targets = torch.tensor(values_of(rows), dtype=torch.float32)
        return ClassBatch(targets, tokens=self.tokens(rows))

    def loss(self, batch: ClassBatch, generator: torch.Generator) -> Losses:
        """Mean squared error on the scale of the training rows."""
        targets = (batch.targets - self.mean) / self.deviation
        return regression_losses(self.module(tokens=batch.tokens), targets)

    def predict_batch(self, batch: ClassBatch) -> list[float]:
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
        return rng.choice(values_of(self.train_rows), size=len(rows)).tolist()

    def constants(self, rows: Sequence[LabelledText]) -> dict[str, list[float]]:
        return {"mean of the training rows": [float(values_of(self.train_rows).mean())] * len(rows)}

    def case(self, row: LabelledText, prediction: float) -> Case:
        (truth,) = values_of([row]).tolist()
        distance = abs(truth - prediction)
        spread = float(values_of(self.train_rows).std()) or 1.0
        texts = tuple(("", text) for text in self.texts_of(row))
        return Case(f"{truth:g}", f"{prediction:.3g}", distance <= spread / 2, distance, texts)


def values_of(rows: Sequence[LabelledText]) -> NDArray[np.float64]:
    """[R] the values of rows."""
    return np.array([float(row.label) for row in rows])  # pyright: ignore[reportArgumentType]  # no labels
