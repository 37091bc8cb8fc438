"""Two-picture reasoning: the text fused with each picture, both token-0 vectors -> MLP (spec: NLVR2)."""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xfm.data.schema import TensorFields, Tokens
from xfm.data.tokenizer import normalise_caption
from xfm.evaluation.metrics import accuracy
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import Reasoner
from xfm.objectives.losses import Losses
from xfm.tasks.base import Blanked, Task, TaskSettings, classification_losses, seeded
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import PicturePair, read_picture_pairs
from xfm.tasks.sampling import components
from xfm.tasks.shapes import padded_tokens


@dataclass(frozen=True)
class ReasoningBatch(TensorFields):
    """Sentences about two pictures.

    Attributes:
        pixels: [I, 3, S, S] float32 distinct pictures.
        left, right: [R] int64, the pictures of each sentence.
        tokens: [R, T] sentences.
        labels: [R] int64, 1 for true.
    """

    pixels: Tensor
    left: Tensor
    right: Tensor
    tokens: Tokens
    labels: Tensor


class ReasoningTask(Task[PicturePair, ReasoningBatch, bool]):
    """Is the sentence true of the two pictures?

    The baseline blanks the pictures: the same training sees the text only.
    """

    name: ClassVar[str] = "reasoning"
    columns: ClassVar[tuple[str, ...]] = ("images", "text", "label")
    primary: ClassVar[str] = "accuracy"
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.PICTURE})

    def __init__(
        self, pretrained: Pretrained, pictures: Pictures, train: Sequence[PicturePair], settings: TaskSettings
    ) -> None:
        super().__init__(settings, train)
        self.tokenizer, self.pictures = pretrained.tokenizer, pictures
        self._components = components(row.images for row in train)
        with seeded(settings.seed):
            self._module = Reasoner(copy.deepcopy(pretrained.model)).to(settings.device)

    @property
    def module(self) -> Reasoner:
        """What is trained."""
        return self._module

    @classmethod
    def read(cls, path: Path) -> list[PicturePair]:
        """Rows `{"images": [left, right], "text", "label": true | false}`."""
        return read_picture_pairs(path)

    def group(self, row: PicturePair) -> Hashable:
        """Sentences that share pictures, directly or not, belong together (in the baseline too)."""
        return self._components[row.images[0]]

    def collate(self, rows: Sequence[PicturePair]) -> ReasoningBatch:
        """Pictures, sentences and labels of the rows."""
        if self.settings.blanked is Blanked.PICTURE:
            pixels, index = self.pictures.blank(2 * len(rows))
        else:
            lefts, rights = [row.images[0] for row in rows], [row.images[1] for row in rows]
            pixels, index = self.pictures.distinct(lefts + rights)
        texts = [normalise_caption(row.text, max_words=self.settings.max_tokens) for row in rows]
        tokens = padded_tokens(self.tokenizer.encode_batch(texts, self.settings.max_tokens), self.tokenizer)
        labels = torch.tensor([int(row.label) for row in rows])
        return ReasoningBatch(pixels, index[: len(rows)], index[len(rows) :], tokens, labels)

    def _logits(self, batch: ReasoningBatch) -> Tensor:
        """[R, 2]."""
        return self.module(batch.pixels, batch.left, batch.right, batch.tokens)

    def loss(self, batch: ReasoningBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy."""
        return classification_losses(self._logits(batch), batch.labels)

    def predict_batch(self, batch: ReasoningBatch) -> list[bool]:
        """True where the sentence is judged true."""
        return self._logits(batch).argmax(-1).bool().tolist()

    def metrics(self, rows: Sequence[PicturePair], predictions: Sequence[bool]) -> dict[str, float]:
        """Accuracy."""
        return {"accuracy": accuracy(np.array(predictions), np.array([row.label for row in rows]))}
