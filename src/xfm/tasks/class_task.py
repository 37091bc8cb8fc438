"""Tasks whose rows have classes or labels by name: the batch, and what follows from the kind of labels."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from torch import Tensor

from xfm.config.labels import BALANCED, HALF, LabelKind, label_name
from xfm.config.task import TaskConfig
from xfm.data.schema import TensorFields, Tokens
from xfm.metrics.calibration import FEWEST, fitted_temperature, tempered
from xfm.objectives.losses import Losses
from xfm.tasks.base import RowScores, Task
from xfm.tasks.labelling import OneLabel, SeveralLabels, Truth
from xfm.tasks.rows import Case, SplitRows

RowT = TypeVar("RowT")


@dataclass(frozen=True)
class ClassBatch(TensorFields):
    """targets [R] int64 classes, [R, C] float32 labels or [R] float32 values; pixels [I, 3, S, S] float32,
    tokens [R, T], index [R, K] int64 of each row's pictures (None: picture r)."""

    targets: Tensor
    pixels: Tensor | None = None
    tokens: Tokens | None = None
    index: Tensor | None = None


class ClassTask(Task[RowT, ClassBatch, Any]):
    """A task with a class, several labels or a value a row; subclasses say how rows are read. `weight` [C]
    weighs the loss."""

    usual: ClassVar[tuple[str, ...]] = ()
    smoothing: float = 0.0

    def prepare(self, data: SplitRows[RowT]) -> None:
        settings, names = self.settings, data.labels or self.usual
        if settings.label_kind is LabelKind.ONE:
            self.labels: OneLabel | SeveralLabels = OneLabel(names)
        else:
            given = settings.threshold
            self.labels = SeveralLabels(names, threshold=given or HALF, fits=not given)
        self.known = self.labels.names
        counted = data.train if settings.class_weights == BALANCED else ()
        self.weight = self.labels.weight(settings.class_weights, self.truths_of(counted))

    @property
    def primary(self) -> str:  # pyright: ignore[reportIncompatibleVariableOverride]  # follows from the labels
        """The metric of the kind of labels."""
        return self.labels.primary

    def described(self, data: SplitRows[RowT], **more: Any) -> TaskConfig:
        names, kind = self.labels.names, self.labels.kind
        if kind is not LabelKind.ONE:
            more |= {"label_kind": kind, "threshold": self.labels.threshold}
        return super().described(data, classes=len(names), labels=names, **more)

    def collate(self, rows: Sequence[RowT]) -> ClassBatch:
        pixels, index = self.shown(rows) if self.spec.has_images else (None, None)
        tokens = self.tokens(rows) if self.spec.has_texts else None
        return ClassBatch(self.labels.targets(self.truths_of(rows)), pixels, tokens, index)

    def tokens(self, rows: Sequence[RowT]) -> Tokens:
        """[R, T] the text of each row."""
        return self.encode([self.texts_of(row)[0] for row in rows])

    def loss(self, batch: ClassBatch, generator: torch.Generator) -> Losses:
        return self.losses(self.module(batch.pixels, batch.tokens, batch.index), batch.targets)

    def losses(self, logits: Tensor, targets: Tensor) -> Losses:
        """The same of [R, C] logits."""
        weight = None if self.weight is None else self.weight.to(logits.device)
        return self.labels.losses(logits, targets, weight, self.smoothing)

    def count(self, batch: ClassBatch, rows: Sequence[RowT]) -> float:
        """The rows, or what their classes weigh."""
        return len(rows) if self.weight is None else self.labels.weighed(batch.targets, self.weight)

    def predict_batch(self, batch: ClassBatch) -> list[Any]:
        return self.labels.predictions(self.module(batch.pixels, batch.tokens, batch.index))

    def settle(self, valid: Sequence[RowT], predictions: Sequence[Any] | None = None) -> None:
        """Fit the temperature, of several labels choose the threshold, by predictions that may be known; the
        model's folder will have both. What is chosen stays as it is, unless a threshold was given."""
        if not len(valid):
            return
        found = self.predict(valid) if predictions is None else predictions
        truths, several = self.truths_of(valid), self.labels.kind is LabelKind.SEVERAL
        labels = self.labels = self.labels.settled(truths, found)
        if len(valid) >= FEWEST:
            stated = np.array([one.probabilities for one in found])
            temperature = fitted_temperature(stated, labels.flags(truths), several)
            self.module.cool(temperature)
            if several and labels.fits:
                threshold = tempered(np.array([[labels.threshold]]), temperature, several=True)
                self.labels = replace(labels, threshold=float(threshold[0, 0]))
        if several:
            self.module.task = replace(self.module.task, threshold=self.labels.threshold)

    def warmed(self, predictions: Sequence[Any]) -> list[Any]:
        """Predictions as they were before the temperature."""
        several = self.labels.kind is LabelKind.SEVERAL
        stated = np.array([one.probabilities for one in predictions])
        return self.labels.said(tempered(stated, 1 / self.module.task.temperature, several))

    @classmethod
    def labels_of(cls, row: Any) -> Truth:
        return row.label if isinstance(row.label, tuple) else (label_name(row.label),)

    @classmethod
    def truths_of(cls, rows: Sequence[RowT]) -> list[Truth]:
        """Those of rows."""
        return [cls.labels_of(row) for row in rows]

    def unknown(self, row: RowT) -> Truth:
        return tuple(name for name in self.labels_of(row) if name not in self.known)

    def metrics(self, rows: Sequence[RowT], predictions: Sequence[Any]) -> dict[str, float]:
        return self.labels.metrics(self.truths_of(rows), predictions)

    def validation_metrics(self, rows: Sequence[RowT], predictions: Sequence[Any]) -> dict[str, float]:
        """Of several labels at the threshold that these rows choose."""
        truths = self.truths_of(rows)
        own = self.labels.settled(truths, predictions)
        return own.metrics(truths, own.anew(predictions))

    def row_scores(self, rows: Sequence[RowT], predictions: Sequence[Any]) -> RowScores:
        return self.labels.row_scores(self.truths_of(rows), predictions)

    def guess(self, rows: Sequence[RowT], rng: np.random.Generator) -> list[Any]:
        return self.labels.guess(len(rows), rng)

    def known_chance(self, rows: Sequence[RowT]) -> dict[str, float]:
        return self.labels.known_chance()

    def constants(self, rows: Sequence[RowT]) -> dict[str, list[Any]]:
        usual = self.labels.usual(self.truths_of(self.train_rows))
        return {name: [one] * len(rows) for name, one in usual.items()}

    def case(self, row: RowT, prediction: Any) -> Case:
        texts = tuple(("", text) for text in self.texts_of(row))
        found = self.labels.case(self.labels_of(row), prediction)
        return replace(found, texts=texts, pictures=self.images_of(row))

    @property
    def weights(self) -> dict[str, float]:
        """What each label weighs in the loss, by name; empty where all weigh the same."""
        return {} if self.weight is None else dict(zip(self.labels.names, self.weight.tolist(), strict=True))
