"""Classification, or a value, of a text or of two: language token 0 -> MLP head (spec: GLUE, STS-B)."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from xfm.config.task import TaskKind
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tables import Field, TableRow
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import TextClassifier
from xfm.objectives.losses import Losses
from xfm.tasks.base import Blanked, TaskSettings, classification_losses, regression_losses, seeded
from xfm.tasks.classes import Choice, Labels, class_metrics, most_frequent
from xfm.tasks.own import Case, OwnTask, Reading
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import LabelledText
from xfm.tasks.shapes import padded_tokens
from xfm.tasks.splits import SplitRows


@dataclass(frozen=True)
class TextBatch(TensorFields):
    """Texts, or pairs as one sequence each.

    Attributes:
        tokens: [R, T].
        targets: [R] int64 classes, or float32 values of a regression.
    """

    tokens: Tokens
    targets: Tensor


class TextClassificationTask(OwnTask[LabelledText, TextBatch, Choice | float]):
    """Which class is the text, or the pair of texts, of; without class names: what is its value?

    Values are learned on the scale on which those of the training rows have mean 0 and deviation 1; the last
    layer is rescaled when the model is done, so that it gives the values themselves.
    """

    name: ClassVar[str] = "text-classification"
    kind: ClassVar[TaskKind] = TaskKind.TEXT
    columns: ClassVar[tuple[str, ...]] = ("text", "label")
    fields: ClassVar[tuple[Field, ...]] = (
        Field("text", "the text, or the first of two"),
        Field("second", "the second text of a pair", optional=True),
        Field("label", "name of the class; with --regression the value"),
    )
    primary: ClassVar[str] = "accuracy"
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.FIRST_TEXT})
    single: ClassVar[dict[Blanked, str]] = {Blanked.FIRST_TEXT: "second text only"}

    def __init__(
        self,
        pretrained: Pretrained,
        train: Sequence[LabelledText],
        settings: TaskSettings,
        labels: Sequence[str] = (),
    ) -> None:
        super().__init__(settings, train)
        self.tokenizer, self.labels = pretrained.tokenizer, Labels(tuple(labels))
        with seeded(settings.seed):
            language = copy.deepcopy(pretrained.model.language)  # vision and fusion are left behind
            self._module = TextClassifier(language, len(labels) or 1).to(settings.device)
        self.describe(labels=tuple(labels))

    @classmethod
    def build(
        cls,
        pretrained: Pretrained,
        pictures: Pictures,
        data: SplitRows[LabelledText],
        settings: TaskSettings,
    ) -> Self:
        """The task; a regression where the data has no class names."""
        return cls(pretrained, data.train, settings, data.labels)

    @property
    def module(self) -> TextClassifier:
        """What is trained."""
        return self._module

    @classmethod
    def from_row(cls, row: TableRow, reading: Reading) -> LabelledText:
        """A text with its class or value."""
        label = row.value("label") if reading.regression else row.label("label")
        return LabelledText(row.text("text"), label, row.text("second") if "second" in row else None)
