"""Visual grounding: the box of a phrase, by the box head alone (spec: RefCOCO+)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from types import MappingProxyType
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import GROUNDING
from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.data.left_out import UnreadablePicture
from xfm.data.picture_files import image_size
from xfm.data.records import OVERHANG
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tables import TableRow
from xfm.data.transforms import names_a_side
from xfm.metrics.boxes import best_constant_box, box_hits, box_scores, paired_iou
from xfm.modeling.task_models import Grounder
from xfm.objectives.bbox import box_losses
from xfm.objectives.losses import Losses
from xfm.tasks.base import Task
from xfm.tasks.cases import Case, CellMeaning
from xfm.tasks.rows import Corners, Reference
from xfm.tasks.sampling import Drawn
from xfm.tasks.settings import Blanked

SAMPLED = 2000  # training boxes behind the constant box


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

    spec: ClassVar[TaskSpec] = GROUNDING
    primary: ClassVar[str] = "acc50"
    module: Grounder
    hides: ClassVar[Mapping[Blanked, str]] = MappingProxyType({Blanked.TEXT: "picture only"})

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> Reference:
        """Fields `image`, `text` and `box`; the box must lie in the picture."""
        image = row.path("image")
        try:
            size = image_size(image)
        except UnreadablePicture as error:
            raise UnreadablePicture(f"{row.place}: {error}") from error
        return Reference(image, row.text("text"), read_box(row, meaning, *size))

    @classmethod
    def texts_of(cls, row: Reference) -> tuple[str, ...]:
        """The phrase."""
        return (row.phrase,)

    def guess(self, rows: Sequence[Reference], rng: np.random.Generator) -> list[Corners]:
        """Boxes of training rows drawn at random."""
        places = rng.integers(len(self.train_rows), size=len(rows))
        return [self.train_rows[place].box for place in places.tolist()]

    def constants(self, rows: Sequence[Reference]) -> dict[str, list[Corners]]:
        """The one box that reaches an IoU of 0.5 on most training rows."""
        return {"best constant box": [self._usual_box] * len(rows)}

    @cached_property
    def _usual_box(self) -> Corners:
        """It takes half a second, and several splits ask for it."""
        boxes = np.array([row.box for row in self.train_rows[:SAMPLED]])
        left, top, right, bottom = best_constant_box(boxes).tolist()
        return left, top, right, bottom

    def case(self, row: Reference, prediction: Corners) -> Case:
        """The less the boxes overlap, the worse."""
        iou = float(paired_iou(np.array([prediction]), np.array([row.box]))[0])
        return Case(
            truth="the solid box",
            predicted=f"the dashed box, IoU {iou:.2f}",
            right=iou >= 0.5,
            badness=1 - iou,
            texts=(("", row.phrase),),
            pictures=(row.image,),
            true_box=row.box,
            predicted_box=prediction,
        )

    def collate(self, rows: Sequence[Reference]) -> GroundingBatch:
        """Pictures, phrases and boxes of the rows."""
        pixels, index = self.pictures.distinct([row.image for row in rows])
        tokens = self.encode([row.phrase for row in rows])
        corners = Boxes(torch.tensor([row.box for row in rows]), BoxFormat.XYXY, BoxUnit.FRACTION)
        return GroundingBatch(pixels, index, tokens, corners.to_format(BoxFormat.CXCYWH).data)

    def training_batch(self, drawn: Drawn[Reference]) -> GroundingBatch:
        """Pictures are mirrored as often as the settings say."""
        batch = self.collate(drawn.rows)
        return self._mirrored(batch, drawn) if self.settings.image.flip else batch

    def _mirrored(self, batch: GroundingBatch, drawn: Drawn[Reference]) -> GroundingBatch:
        """Some pictures mirrored with their boxes; never one of which a phrase of the batch names a side."""
        shown = list(dict.fromkeys(row.image for row in drawn.batch))
        draws = np.random.default_rng((drawn.seed, drawn.step, 1)).random(len(shown))
        sided = {row.image for row in drawn.batch if names_a_side([row.phrase])}
        mirrored = {
            image: bool(draw < self.settings.image.flip) and image not in sided
            for image, draw in zip(shown, draws, strict=True)
        }
        rows = torch.tensor([mirrored[row.image] for row in drawn.rows])  # [R]
        chosen = torch.zeros(len(batch.pixels), dtype=torch.bool)  # [I]
        chosen[batch.image_index] = rows
        pixels = torch.where(chosen[:, None, None, None], batch.pixels.flip(-1), batch.pixels)
        cx, rest = batch.boxes.split([1, 3], dim=1)
        cx = torch.where(rows[:, None], 1 - cx, cx)
        return replace(batch, pixels=pixels, boxes=torch.cat([cx, rest], dim=1))

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
        return box_metrics(rows, predictions)

    def row_scores(
        self, rows: Sequence[Reference], predictions: Sequence[Corners]
    ) -> dict[str, NDArray[np.float64]]:
        """Whether each box is right, and its IoU."""
        iou = paired_iou(np.array(predictions), np.array([row.box for row in rows]))
        return {"acc50": box_hits(iou), "mean_iou": iou}


def box_metrics(rows: Sequence[Reference], predictions: Sequence[Corners]) -> dict[str, float]:
    """Accuracy at IoU 0.5 and mean IoU; fractions of the sides have the IoU of pixels."""
    return box_scores(np.array(predictions), np.array([row.box for row in rows]))


def read_box(row: TableRow, meaning: CellMeaning, width: int, height: int) -> Corners:
    """The box of a row as (left, top, right, bottom) fractions of a picture of `width` x `height` pixels.

    Raises:
        UserError: it is not four numbers, has no area, or leaves the picture by more than `OVERHANG` pixels.
    """
    numbers = row.numbers("box")
    if len(numbers) != 4:
        raise row.error("box", f"has {len(numbers)} numbers, not four ({meaning.box_format.meaning})")
    given = Boxes(torch.tensor([numbers], dtype=torch.float64), meaning.box_format, meaning.box_unit)
    shown = ", ".join(f"{number:g}" for number in numbers)
    read_as = f"{meaning.box_format.meaning}, in {meaning.box_unit.value}s"
    pixels = given.to_format(BoxFormat.XYXY).to_unit(BoxUnit.PIXEL, width, height)
    left, top, right, bottom = pixels.data[0].tolist()
    inside = right > 0 and bottom > 0 and left < width and top < height
    if right <= left or bottom <= top:
        raise row.error("box", f"[{shown}] has no area, read as {read_as} (see --box-format)")
    if not inside or min(left, top) < -OVERHANG or right > width + OVERHANG or bottom > height + OVERHANG:
        raise row.error(
            "box",
            f"[{shown}] lies outside its picture of {width} x {height} pixels, read as {read_as} "
            "(see --box-format and --box-unit)",
        )
    return max(left, 0) / width, max(top, 0) / height, min(right / width, 1), min(bottom / height, 1)
