"""The class of a picture with a text: fusion token 0 -> MLP head (SNLI-VE, hateful memes)."""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor

from xfm.config.task import TaskKind
from xfm.data.schema import TensorFields, Tokens
from xfm.data.shapes import padded_tokens
from xfm.data.tables import Field, TableRow
from xfm.data.tokenizer import normalise_caption
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import PairClassifier
from xfm.objectives.losses import Losses
from xfm.tasks.base import Blanked, TaskSettings, classification_losses, seeded
from xfm.tasks.class_task import ClassTask
from xfm.tasks.classes import Choice
from xfm.tasks.own import Reading
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import LabelledPictureText
from xfm.tasks.splits import SplitRows


@dataclass(frozen=True)
class PictureTextBatch(TensorFields):
    """Texts about pictures.

    Attributes:
        pixels: [I, 3, S, S] float32 distinct pictures.
        image_index: [R] int64, the picture of each text.
        tokens: [R, T] texts.
        targets: [R] int64.
    """

    pixels: Tensor
    image_index: Tensor
    tokens: Tokens
    targets: Tensor


class ImageTextClassificationTask(ClassTask[LabelledPictureText, PictureTextBatch]):
    """Which class are picture and text together of?

    The baselines blank the picture, or the text, in the same training.
    """

    name: ClassVar[str] = TaskKind.PAIR
    kind: ClassVar[TaskKind] = TaskKind.PAIR
    columns: ClassVar[tuple[str, ...]] = ("image", "text", "label")
    fields: ClassVar[tuple[Field, ...]] = (
        Field("image", "path of the picture, or the picture itself"),
        Field("text", "the text"),
        Field("label", "name of the class of the two"),
    )
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.PICTURE, Blanked.TEXT})

    def __init__(
        self,
        pretrained: Pretrained,
        pictures: Pictures,
        train: Sequence[LabelledPictureText],
        settings: TaskSettings,
        labels: Sequence[str],
    ) -> None:
        super().__init__(settings, train, labels)
        self.tokenizer, self.pictures = pretrained.tokenizer, pictures
        with seeded(settings.seed):
            model = copy.deepcopy(pretrained.model)
            self._module = PairClassifier(model, len(labels)).to(settings.device)
        self.describe(labels=self.labels.names)

    @classmethod
    def build(
        cls,
        pretrained: Pretrained,
        pictures: Pictures,
        data: SplitRows[LabelledPictureText],
        settings: TaskSettings,
    ) -> Self:
        """The task on a copy of the model."""
        return cls(pretrained, pictures, data.train, settings, data.labels)

    @property
    def module(self) -> PairClassifier:
        """What is trained."""
        return self._module

    @classmethod
    def from_row(cls, row: TableRow, reading: Reading) -> LabelledPictureText:
        """Fields `image`, `text` and `label`."""
        return LabelledPictureText(row.path("image"), row.text("text"), row.label("label"))

    @classmethod
    def pictures_of(cls, row: LabelledPictureText) -> tuple[Path, ...]:
        """The picture."""
        return (row.image,)

    @classmethod
    def texts_of(cls, row: LabelledPictureText) -> tuple[str, ...]:
        """The text."""
        return (row.text,)

    @classmethod
    def single(cls, train: Sequence[LabelledPictureText]) -> dict[Blanked, str]:
        """Either input may be hidden."""
        return {Blanked.PICTURE: "text only", Blanked.TEXT: "picture only"}

    def group(self, row: LabelledPictureText) -> Hashable:
        """Texts about one picture belong together."""
        return row.image

    def collate(self, rows: Sequence[LabelledPictureText]) -> PictureTextBatch:
        """Pictures, texts and classes of the rows."""
        blanked, limit = self.settings.blanked, self.settings.max_tokens
        pixels, index = self.pictures.distinct([row.image for row in rows], blanked is Blanked.PICTURE)
        texts = [
            "" if blanked is Blanked.TEXT else normalise_caption(row.text, max_words=limit) for row in rows
        ]
        tokens = padded_tokens(self.tokenizer.encode_batch(texts, limit), self.tokenizer)
        targets = self.labels.indices([self.class_of(row) for row in rows])
        return PictureTextBatch(pixels, index, tokens, targets)

    def _logits(self, batch: PictureTextBatch) -> Tensor:
        """[R, C]."""
        return self.module(batch.pixels, batch.tokens, batch.image_index)

    def loss(self, batch: PictureTextBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy."""
        return classification_losses(self._logits(batch), batch.targets)

    def predict_batch(self, batch: PictureTextBatch) -> list[Choice]:
        """The likeliest class of each pair."""
        return self.labels.choices(self._logits(batch))
