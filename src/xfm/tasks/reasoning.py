"""Two-picture reasoning: the text fused with each picture, both token-0 vectors -> MLP (spec: NLVR2)."""

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
from xfm.modeling.task_models import Reasoner
from xfm.objectives.losses import Losses
from xfm.tasks.base import Blanked, TaskSettings, classification_losses, seeded
from xfm.tasks.class_task import ClassTask
from xfm.tasks.classes import Choice
from xfm.tasks.own import Reading
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import TRUTH, PicturePair
from xfm.tasks.sampling import components
from xfm.tasks.splits import SplitRows


@dataclass(frozen=True)
class ReasoningBatch(TensorFields):
    """Sentences about two pictures.

    Attributes:
        pixels: [I, 3, S, S] float32 distinct pictures.
        left, right: [R] int64, the pictures of each sentence.
        tokens: [R, T] sentences.
        labels: [R] int64 classes.
    """

    pixels: Tensor
    left: Tensor
    right: Tensor
    tokens: Tokens
    labels: Tensor


class ReasoningTask(ClassTask[PicturePair, ReasoningBatch]):
    """Is the sentence true of the two pictures? Or, with other labels: which class are the three of?

    The baseline blanks the pictures: the same training sees the text only.
    """

    name: ClassVar[str] = "reasoning"
    kind: ClassVar[TaskKind] = TaskKind.REASONING
    columns: ClassVar[tuple[str, ...]] = ("images", "text", "label")
    fields: ClassVar[tuple[Field, ...]] = (
        Field("left", "path of the left picture, or the picture itself", instead=("images",)),
        Field("right", "path of the right picture, or the picture itself", instead=("images",)),
        Field("images", "both pictures as a list", optional=True),
        Field("text", "the sentence"),
        Field("label", "name of the class, such as true and false"),
    )
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.PICTURE})

    def __init__(
        self,
        pretrained: Pretrained,
        pictures: Pictures,
        train: Sequence[PicturePair],
        settings: TaskSettings,
        labels: Sequence[str] = TRUTH,
    ) -> None:
        super().__init__(settings, train, labels)
        self.tokenizer, self.pictures = pretrained.tokenizer, pictures
        self._components = components(row.images for row in train)
        with seeded(settings.seed):
            self._module = Reasoner(copy.deepcopy(pretrained.model), len(labels)).to(settings.device)
        self.describe(labels=self.labels.names)

    @classmethod
    def build(
        cls, pretrained: Pretrained, pictures: Pictures, data: SplitRows[PicturePair], settings: TaskSettings
    ) -> Self:
        """The task on a copy of the model."""
        return cls(pretrained, pictures, data.train, settings, data.labels or TRUTH)

    @property
    def module(self) -> Reasoner:
        """What is trained."""
        return self._module

    @classmethod
    def from_row(cls, row: TableRow, reading: Reading) -> PicturePair:
        """Fields `left`, `right`, `text` and `label`, or `images` with both pictures."""
        if row.has("left") or row.has("right") or not row.has("images"):
            images = [row.path("left"), row.path("right")]
        elif len(images := row.paths("images")) != 2:
            raise row.error("images", "must name two pictures")
        return PicturePair((images[0], images[1]), row.text("text"), row.label("label"))

    @classmethod
    def pictures_of(cls, row: PicturePair) -> tuple[Path, ...]:
        """Both pictures."""
        return row.images

    @classmethod
    def texts_of(cls, row: PicturePair) -> tuple[str, ...]:
        """The sentence."""
        return (row.text,)

    @classmethod
    def single(cls, train: Sequence[PicturePair]) -> dict[Blanked, str]:
        """The pictures may be hidden."""
        return {Blanked.PICTURE: "text only"}

    def group(self, row: PicturePair) -> Hashable:
        """Sentences that share pictures, directly or not, belong together (in the baseline too)."""
        return self._components[row.images[0]]

    def collate(self, rows: Sequence[PicturePair]) -> ReasoningBatch:
        """Pictures, sentences and labels of the rows."""
        hidden = self.settings.blanked is Blanked.PICTURE
        lefts, rights = [row.images[0] for row in rows], [row.images[1] for row in rows]
        pixels, index = self.pictures.distinct(lefts + rights, hidden)
        texts = [normalise_caption(row.text, max_words=self.settings.max_tokens) for row in rows]
        tokens = padded_tokens(self.tokenizer.encode_batch(texts, self.settings.max_tokens), self.tokenizer)
        labels = self.labels.indices([self.class_of(row) for row in rows])
        return ReasoningBatch(pixels, index[: len(rows)], index[len(rows) :], tokens, labels)

    def _logits(self, batch: ReasoningBatch) -> Tensor:
        """[R, 2]."""
        return self.module(batch.pixels, batch.left, batch.right, batch.tokens)

    def loss(self, batch: ReasoningBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy."""
        return classification_losses(self._logits(batch), batch.labels)

    def predict_batch(self, batch: ReasoningBatch) -> list[Choice]:
        """The likeliest class of each sentence."""
        return self.labels.choices(self._logits(batch))
