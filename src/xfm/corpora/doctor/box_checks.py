"""Boxes that lie outside their picture, have no area, or are implausible."""

import math
from collections.abc import Sequence
from typing import TypeGuard

import torch

from xfm.config.tables import BoxFormat, BoxUnit
from xfm.core.errors import excerpt
from xfm.corpora.doctor.findings import Finding, Issue
from xfm.data.boxes import Boxes
from xfm.data.records import check_box

_LEAST, _WHOLE = 2.0, 0.99
Sides = tuple[float, float, float, float]
"""Left, top, width, height in pixels."""


def in_pixels(box: object, size: tuple[int, int], format: BoxFormat, unit: BoxUnit) -> object:
    """A box of a table as [left, top, width, height] in pixels; anything else unchanged."""
    if not _four_numbers(box) or (format is BoxFormat.XYWH and unit is BoxUnit.PIXEL):
        return box
    told = Boxes(torch.tensor([box], dtype=torch.float64), format, unit)
    return told.to_format(BoxFormat.XYWH).to_unit(BoxUnit.PIXEL, *size).data[0].tolist()


def box_flaw(box: object, size: tuple[int, int]) -> Issue | None:
    """The flaw of a box [left, top, width, height] in pixels, in an upright picture (width, height)."""
    try:
        _, _, width, height = check_box(box, *size)
    except ValueError as error:
        detail = f"the box {error}"
        if not _four_numbers(box):
            return Issue(Finding.BOX_WRONG, f"{detail}: {excerpt(repr(box))}")
        left, top, width, height = map(float, box)
        if width <= 0 or height <= 0:
            return Issue(Finding.BOX_EMPTY, detail)
        beyond = max(-left, -top, left + width - size[0], top + height - size[1]) / max(size)
        return Issue(Finding.BOX_OUTSIDE, detail, min(beyond, 1e9))
    shown = f"{width:g} x {height:g} of {size[0]} x {size[1]} pixels"
    if min(width, height) < min(_LEAST, *size):
        return Issue(Finding.BOX_TINY, shown, -min(width, height))
    if width * height >= _WHOLE * size[0] * size[1]:
        return Issue(Finding.BOX_WHOLE, shown)
    return None


def share(box: object, size: tuple[int, int]) -> float | None:
    """Percentage of the picture that a usable box covers."""
    try:
        _, _, width, height = check_box(box, *size)
    except ValueError:
        return None
    return 100 * width * height / (size[0] * size[1])


def _four_numbers(box: object) -> TypeGuard[Sequence[float]]:
    if not isinstance(box, list | tuple) or len(box) != 4:
        return False
    if any(isinstance(one, bool) or not isinstance(one, int | float) for one in box):
        return False
    try:
        return math.isfinite(sum(map(float, box)))
    except OverflowError:
        return False
