"""Bounding boxes that state their format and unit."""

from dataclasses import dataclass

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
        from torchvision.ops import box_convert  # late: it takes longer than torch

        return Boxes(box_convert(self.data, self.format.value, format.value), format, self.unit)

    def to_unit(self, unit: BoxUnit, width: float, height: float) -> "Boxes":
        """The same boxes in another unit, for a picture of `width` x `height` pixels."""
        if unit is self.unit:
            return self
        scale = self.data.new_tensor([width, height, width, height])
        data = self.data / scale if unit is BoxUnit.FRACTION else self.data * scale
        return Boxes(data, self.format, unit)
