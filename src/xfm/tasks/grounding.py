"""Visual grounding: the box of a phrase, by the box head alone (spec: RefCOCO+)."""

import copy
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tokenizer import normalise_caption
from xfm.evaluation.metrics import paired_iou
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import Grounder
from xfm.objectives.bbox import box_losses
from xfm.objectives.losses import Losses
from xfm.tasks.base import Blanked, Task, TaskSettings, seeded
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Reference, read_references
from xfm.tasks.shapes import padded_tokens

Corners = tuple[float, float, float, float]


@dataclass(frozen=True)
class GroundingBatch(TensorFields):
    """Phrases with the boxes they refer to.

    Attributes:
        pixels: [I, 3, S, S] float32 distinct pictures.
        image_index: [R] int64, the picture of each phrase.
        tokens: [R, T] phrases.
        boxes: [R, 4] float32 (cx, cy, w, h), fractions of the picture's sides.
    """

    pixels: Tensor
    image_index: Tensor
    tokens: Tokens
    boxes: Tensor


class GroundingTask(Task[Reference, GroundingBatch, Corners]):
    """Where is what the phrase refers to? Predictions are (left, top, right, bottom) as fractions.

    The baseline blanks the phrase: the same training sees the picture only.
    """

    name: ClassVar[str] = "grounding"
    columns: ClassVar[tuple[str, ...]] = ("image", "phrase", "box")
    primary: ClassVar[str] = "acc50"
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.TEXT})

    def __init__(
        self, pretrained: Pretrained, pictures: Pictures, train: Sequence[Reference], settings: TaskSettings
    ) -> None:
        super().__init__(settings, train)
        self.tokenizer, self.pictures = pretrained.tokenizer, pictures
        with seeded(settings.seed):
            self._module = Grounder(copy.deepcopy(pretrained.model)).to(settings.device)

    @property
    def module(self) -> Grounder:
        """What is trained."""
        return self._module

    @classmethod
    def read(cls, path: Path) -> list[Reference]:
        """Rows `{"image", "phrase", "box": [left, top, width, height]}`, the box in the picture's pixels."""
        return read_references(path)

    def group(self, row: Reference) -> Hashable:
        """Phrases about one picture belong together."""
        return row.image

    def collate(self, rows: Sequence[Reference]) -> GroundingBatch:
        """Pictures, phrases and boxes of the rows."""
        pixels, index = self.pictures.distinct([row.image for row in rows])
        blanked = self.settings.blanked is Blanked.TEXT
        texts = ["" if blanked else normalise_caption(row.phrase) for row in rows]
        tokens = padded_tokens(self.tokenizer.encode_batch(texts, self.settings.max_tokens), self.tokenizer)
        corners = Boxes(torch.tensor([row.box for row in rows]), BoxFormat.XYXY, BoxUnit.FRACTION)
        return GroundingBatch(pixels, index, tokens, corners.to_format(BoxFormat.CXCYWH).data)

    def loss(self, batch: GroundingBatch, generator: torch.Generator) -> Losses:
        """L1 summed over the four numbers, plus 1 - GIoU, both averaged over the phrases."""
        predicted = self.module(batch.pixels, batch.tokens, batch.image_index)
        l1, giou, iou = box_losses(predicted, batch.boxes)
        return Losses(total=l1 + giou, parts={"box_l1": l1, "box_giou": giou}, metrics={"iou": iou})

    def predict_batch(self, batch: GroundingBatch) -> list[Corners]:
        """Corner boxes as fractions of the picture's sides."""
        predicted = self.module(batch.pixels, batch.tokens, batch.image_index).float()
        boxes = Boxes(predicted, BoxFormat.CXCYWH, BoxUnit.FRACTION)
        return [tuple(box) for box in boxes.to_format(BoxFormat.XYXY).data.tolist()]

    def metrics(self, rows: Sequence[Reference], predictions: Sequence[Corners]) -> dict[str, float]:
        """Accuracy at IoU 0.5 and mean IoU."""
        iou = paired_iou(np.array(predictions), np.array([row.box for row in rows]))
        return {"acc50": float((iou >= 0.5).mean()), "mean_iou": float(iou.mean())}
