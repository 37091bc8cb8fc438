"""Visual grounding: the box of a phrase, by the box head alone (spec: RefCOCO+)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import GROUNDING
from xfm.data.images import UnreadableImage, image_size
from xfm.data.records import OVERHANG
from xfm.data.schema import TensorFields, Tokens
from xfm.data.tables import TableRow
from xfm.data.transforms import Boxes, BoxFormat, BoxUnit
from xfm.metrics.boxes import best_constant_box, best_iou, iou_scores
from xfm.models.task_models import Grounder
from xfm.objectives.fusion_losses import box_losses, nearest_boxes
from xfm.objectives.losses import Losses
from xfm.tasks.base import HiddenInput, RowScores, Task
from xfm.tasks.images import ImageView
from xfm.tasks.rows import Case, CellMeaning, Corners, Reference

SAMPLED = 2000  # training boxes behind the constant box


@dataclass(frozen=True)
class GroundingBatch(TensorFields):
    """pixels [I, 3, S, S] float32, image_index [R] int64, tokens [R, T], boxes [R, M, 4] float32 (cx, cy, w,
    h) as fractions, the first repeated."""

    pixels: Tensor
    image_index: Tensor
    tokens: Tokens
    boxes: Tensor


class GroundingTask(Task[Reference, GroundingBatch, Corners]):
    """The box that a phrase refers to, (left, top, right, bottom) as fractions; the baseline blanks the
    phrase."""

    spec: ClassVar[TaskSpec] = GROUNDING
    primary: ClassVar[str] = "acc50"
    module: Grounder
    hides: ClassVar[Mapping[HiddenInput, str]] = {HiddenInput.TEXT: "picture only"}

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> Reference:
        image = row.path("image")
        try:
            size = image_size(image)
        except UnreadableImage as error:
            raise UnreadableImage(f"{row.place}: {error}") from error
        return Reference(image, row.text("text"), _read_boxes(row, meaning, *size))

    def guess(self, rows: Sequence[Reference], rng: np.random.Generator) -> list[Corners]:
        known = [box for row in self.train_rows for box in row.boxes]
        return [known[place] for place in rng.integers(len(known), size=len(rows)).tolist()]

    def constants(self, rows: Sequence[Reference]) -> dict[str, list[Corners]]:
        return {"best constant box": [self._usual_box] * len(rows)}

    @cached_property
    def _usual_box(self) -> Corners:
        boxes = np.array([box for row in self.train_rows[:SAMPLED] for box in row.boxes])
        left, top, right, bottom = best_constant_box(boxes).tolist()
        return left, top, right, bottom

    def case(self, row: Reference, prediction: Corners) -> Case:
        iou = float(best_iou([prediction], [row.boxes])[0])
        truth = "the solid box" if len(row.boxes) == 1 else f"any of the {len(row.boxes)} solid boxes"
        said, texts = f"the dashed box, IoU {iou:.2f}", (("", row.phrase),)
        return Case(truth, said, iou >= 0.5, 1 - iou, texts, (row.image,), row.boxes, prediction)

    def collate(self, rows: Sequence[Reference]) -> GroundingBatch:
        pixels, index = self.shown(rows)
        tokens = self.encode([row.phrase for row in rows])
        most = max(len(row.boxes) for row in rows)
        filled = [[*row.boxes, *[row.boxes[0]] * (most - len(row.boxes))] for row in rows]  # [R, M, 4]
        corners = Boxes(torch.tensor(filled).view(-1, 4), BoxFormat.XYXY, BoxUnit.FRACTION)
        boxes = corners.to_format(BoxFormat.CXCYWH).data.view(len(rows), most, 4)
        return GroundingBatch(pixels, index[:, 0], tokens, boxes)

    @classmethod
    def boxes_of(cls, row: Reference) -> tuple[Corners, ...]:
        return row.boxes

    def as_shown(self, row: Reference, views: Mapping[Path, ImageView]) -> Reference:
        """With the boxes in the view."""
        return replace(row, boxes=tuple(map(views[row.image].moved, row.boxes)))

    def loss(self, batch: GroundingBatch, generator: torch.Generator) -> Losses:
        """L1 plus 1 - GIoU to the nearest box, averaged over the phrases."""
        predicted = self.module(batch.pixels, batch.tokens, batch.image_index)
        l1, giou, iou = box_losses(predicted, nearest_boxes(predicted, batch.boxes))
        return Losses(total=l1 + giou, terms={"box_l1": l1, "box_giou": giou}, metrics={"iou": iou})

    def predict_batch(self, batch: GroundingBatch) -> list[Corners]:
        predicted = self.module(batch.pixels, batch.tokens, batch.image_index).float()
        boxes = Boxes(predicted, BoxFormat.CXCYWH, BoxUnit.FRACTION)
        return [tuple(box) for box in boxes.to_format(BoxFormat.XYXY).data.tolist()]

    def row_scores(self, rows: Sequence[Reference], predictions: Sequence[Corners]) -> RowScores:
        iou = best_iou(predictions, [row.boxes for row in rows])
        return {"acc50": (iou >= 0.5).astype(np.float64), "mean_iou": iou}


def box_metrics(rows: Sequence[Reference], predictions: Sequence[Corners]) -> dict[str, float]:
    """Accuracy at IoU 0.5 and mean IoU, by the best of several boxes."""
    return iou_scores(best_iou(predictions, [row.boxes for row in rows]))


def _read_boxes(row: TableRow, meaning: CellMeaning, width: int, height: int) -> tuple[Corners, ...]:
    # (left, top, right, bottom) as fractions of the picture
    given, found, how = row.number_lists("box"), list[Corners](), meaning.box_format.meaning
    read_as = f"read as {how}, in {meaning.box_unit.value}s"
    for place, numbers in enumerate(given, start=1):
        which = f"box {place} of {len(given)}: " if len(given) > 1 else ""
        if len(numbers) != 4:
            raise row.error("box", f"has {which}{len(numbers)} numbers, not four ({how})")
        box = Boxes(torch.tensor([numbers], dtype=torch.float64), meaning.box_format, meaning.box_unit)
        pixels = box.to_format(BoxFormat.XYXY).to_unit(BoxUnit.PIXEL, width, height)
        left, top, right, bottom = pixels.data[0].tolist()
        shown = f"{which}[{', '.join(f'{number:g}' for number in numbers)}]"
        if right <= left or bottom <= top:
            raise row.error("box", f"{shown} has no area, {read_as} (see --box-format)")
        inside = right > 0 and bottom > 0 and left < width and top < height
        over = min(left, top) < -OVERHANG or right > width + OVERHANG or bottom > height + OVERHANG
        if over or not inside:
            outside = f"lies outside its picture of {width} x {height} pixels"
            raise row.error("box", f"{shown} {outside}, {read_as} (see --box-format and --box-unit)")
        shares = max(left, 0) / width, max(top, 0) / height, min(right / width, 1), min(bottom / height, 1)
        found.append(shares)
    return tuple(found)
