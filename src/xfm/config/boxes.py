"""How boxes are written. Nothing here imports torch."""

from enum import StrEnum


class BoxFormat(StrEnum):
    """The four numbers of a box, the origin being the picture's top left corner.

    xywh: left, top, width, height.
    xyxy: left, top, right, bottom.
    cxcywh: centre x, centre y, width, height.
    """

    XYWH = "xywh"
    XYXY = "xyxy"
    CXCYWH = "cxcywh"

    @property
    def meaning(self) -> str:
        """The four numbers in words."""
        return _MEANINGS[self]


_MEANINGS = {
    BoxFormat.XYWH: "left, top, width, height",
    BoxFormat.XYXY: "left, top, right, bottom",
    BoxFormat.CXCYWH: "centre x, centre y, width, height",
}


class BoxUnit(StrEnum):
    """Pixels of the picture, or fractions of its width and height."""

    PIXEL = "pixel"
    FRACTION = "fraction"
