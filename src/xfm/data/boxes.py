"""Bounding boxes that state their format and unit."""

from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.config.tables import BoxFormat, BoxUnit


@dataclass(frozen=True)
class Boxes:
    """Boxes with their format and unit.

    Attributes:
        data: [N, 4] float.
        format: meaning of the four columns.
        unit: pixels or fractions of the picture's sides.
    """

    data: Tensor
    format: BoxFormat
    unit: BoxUnit

    def __post_init__(self) -> None:
        if self.data.ndim != 2 or self.data.shape[1] != 4:
            raise ValueError(f"boxes must be [N, 4], got {tuple(self.data.shape)}")

    def __len__(self) -> int:
        return self.data.shape[0]

    def to_format(self, format: BoxFormat) -> "Boxes":
        """The same boxes in another format."""
        if format is self.format:
            return self
        a, b, c, d = self.data.unbind(-1)
        if self.format is BoxFormat.XYWH:
            left, top, right, bottom = a, b, a + c, b + d
        elif self.format is BoxFormat.CXCYWH:
            left, top, right, bottom = a - c / 2, b - d / 2, a + c / 2, b + d / 2
        else:
            left, top, right, bottom = a, b, c, d
        if format is BoxFormat.XYXY:
            columns = (left, top, right, bottom)
        elif format is BoxFormat.XYWH:
            columns = (left, top, right - left, bottom - top)
        else:
            columns = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        return Boxes(torch.stack(columns, -1), format, self.unit)

    def to_unit(self, unit: BoxUnit, width: float, height: float) -> "Boxes":
        """The same boxes in another unit, for a picture of `width` x `height` pixels."""
        if unit is self.unit:
            return self
        scale = self.data.new_tensor([width, height, width, height])
        data = self.data / scale if unit is BoxUnit.FRACTION else self.data * scale
        return Boxes(data, self.format, unit)
