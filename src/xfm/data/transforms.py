"""Crops, flips and resizing of uint8 pictures, with the boxes that move along; normalisation; boxes that
state their format and unit.

All draws come from the sample's own numpy generator; torch's global random state is never touched.
"""

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import interpolate

from xfm.config.data import Augmentation
from xfm.config.image import CLIP_MEAN, CLIP_STD, Channels, MirrorRule
from xfm.config.tables import BoxFormat, BoxUnit


@dataclass(frozen=True)
class Boxes:
    """Boxes `data` [N, 4] float, with the meaning of their columns (`format`) and their `unit`."""

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


_SIDES = {
    MirrorRule.KEEP: re.compile(r"\b(?:left|right)(?:most|hand|wards?)?\b", re.IGNORECASE),
    MirrorRule.LETTERS: re.compile("left|right", re.IGNORECASE),
    MirrorRule.IGNORE: re.compile("(?!)"),  # nothing matches
}
_PUBLISHED_AREA, _PUBLISHED_ASPECT = 0.2, 4 / 3
_MILD_AREA, _MILD_ASPECT = 0.8, 0.9
Box = tuple[float, float, float, float]


class View(NamedTuple):
    """The part of a stored picture that is shown, in its pixels, and whether it is mirrored."""

    left: int
    top: int
    width: int
    height: int
    flip: bool = False


def torchvision_v2() -> ModuleType:
    """torchvision's transforms; imported late, since that takes longer than importing torch."""
    from torchvision.transforms import v2

    return v2


def names_a_side(texts: Iterable[str], rule: MirrorRule = MirrorRule.KEEP) -> bool:
    """Whether one of the texts says left or right by a rule, so that its picture must not be mirrored."""
    return any(_SIDES[rule].search(text) for text in texts)


def image_view(rng: np.random.Generator, size: tuple[int, int], mode: Augmentation, may_flip: bool) -> View:
    """The view of an image without boxes. published: RandomResizedCrop(0.2-1) and flip; mild: a crop of at
    least 0.8 of the area with nearly the image's own aspect, never mirrored; none: all of it."""
    if mode is Augmentation.PUBLISHED:
        return random_crop(rng, size, _PUBLISHED_AREA, _PUBLISHED_ASPECT, 0.5 * may_flip)
    return _mild(rng, *size) if mode is Augmentation.MILD else View(0, 0, *size)


def region_view(
    rng: np.random.Generator, size: tuple[int, int], boxes: Sequence[Box], mode: Augmentation, may_flip: bool
) -> View:
    """The view of an image with boxes (left, top, width, height in its pixels). published: each side of the
    crop is uniform between the image's side and that of one random box, which is kept entirely; mild: a crop
    of at least 0.8 of the area that keeps every box; none: all of it."""
    if not boxes or mode is Augmentation.NONE:
        return image_view(rng, size, mode, may_flip)
    width, height = size
    if mode is Augmentation.MILD:
        left, right = min(box[0] for box in boxes), max(box[0] + box[2] for box in boxes)
        top, bottom = min(box[1] for box in boxes), max(box[1] + box[3] for box in boxes)
        return _mild(rng, width, height, (left, top, right, bottom))
    which, *draws, flip = rng.random(6).tolist()
    x, y, w, h = boxes[int(which * len(boxes))]
    left, right = _between(draws[0], 0, math.floor(x)), _between(draws[1], math.ceil(x + w), width)
    top, bottom = _between(draws[2], 0, math.floor(y)), _between(draws[3], math.ceil(y + h), height)
    return View(left, top, right - left, bottom - top, may_flip and flip < 0.5)


def _between(draw: float, low: int, high: int) -> int:
    return low + int(draw * (high - low + 1))


def _mild(rng: np.random.Generator, width: int, height: int, keep: Box | None = None) -> View:
    """A crop of 0.8-1 of the area; `keep` (left, top, right, bottom) stays inside."""
    scale, ratio, across, down = rng.random(4).tolist()
    scale = _MILD_AREA + (1 - _MILD_AREA) * scale
    # Relative to the picture's own aspect: the squash to a square distorts no more than it does in
    # evaluation.
    ratio = math.exp(math.log(_MILD_ASPECT) * (1 - 2 * ratio))
    new_width = min(width, math.ceil(width * math.sqrt(scale * ratio)))
    # When one side is capped by the picture, the other makes up for it.
    new_height = min(height, math.ceil(scale * width * height / new_width))
    new_width = min(width, max(new_width, math.ceil(scale * width * height / new_height)))
    low_x, high_x, low_y, high_y = 0, width - new_width, 0, height - new_height
    if keep is not None:
        left, top = map(math.floor, keep[:2])
        right, bottom = map(math.ceil, keep[2:])
        new_width, new_height = max(new_width, right - left), max(new_height, bottom - top)
        low_x, high_x = max(0, right - new_width), min(left, width - new_width)
        low_y, high_y = max(0, bottom - new_height), min(top, height - new_height)
    return View(_between(across, low_x, high_x), _between(down, low_y, high_y), new_width, new_height)


def random_crop(
    rng: np.random.Generator, size: tuple[int, int], least: float, aspect: float, flip: float
) -> View:
    """RandomResizedCrop as torchvision draws it, of at least this share of the area, at most so many times as
    wide as high or the reverse: ten attempts, then the largest centred crop."""
    (width, height), ratio = size, (1 / aspect, aspect)
    draws = rng.random((10, 4)).tolist()
    mirrored = bool(rng.random() < flip)
    low, high = map(math.log, ratio)
    for scale_draw, ratio_draw, across, down in draws:
        area = width * height * (least + (1 - least) * scale_draw)
        aspect = math.exp(low + (high - low) * ratio_draw)
        w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
        if 0 < w <= width and 0 < h <= height:
            return View(_between(across, 0, width - w), _between(down, 0, height - h), w, h, mirrored)
    aspect = min(max(width / height, ratio[0]), ratio[1])
    w, h = min(width, round(height * aspect)), min(height, round(width / aspect))
    return View((width - w) // 2, (height - h) // 2, max(w, 1), max(h, 1), mirrored)


def crop_around(
    rng: np.random.Generator, width: int, height: int, keep: Box, least: float, flip: float
) -> View:
    """A crop that keeps a box (left, top, right, bottom) entirely: each side is uniform between the image's
    side and the box's; a crop below `least` of the area is widened evenly."""
    *draws, mirrored = rng.random(5).tolist()
    left, top = draws[0] * max(keep[0], 0.0), draws[1] * max(keep[1], 0.0)
    right, bottom = draws[2] * max(width - keep[2], 0.0), draws[3] * max(height - keep[3], 0.0)
    part, across, down = 1.0, (left + right) / width, (top + bottom) / height
    if (1 - across) * (1 - down) < least:
        half = (across + down) / 2
        part = (1 - least) / (half + math.sqrt(max(half**2 - across * down * (1 - least), 0.0)))
    cut = [math.floor(part * side) for side in (left, top, right, bottom)]
    return View(cut[0], cut[1], width - cut[0] - cut[2], height - cut[1] - cut[3], mirrored < flip)


def show(pixels: Tensor, view: View, size: int | tuple[int, int], mode: str = "bicubic") -> Tensor:
    """Crop, mirror and squash [3, H, W] uint8 to a square (or shape), antialiased."""
    shape = (size, size) if isinstance(size, int) else size
    left, top, width, height, flip = view
    part = pixels[:, top : top + height, left : left + width]
    if flip:
        part = part.flip(-1)
    if (height, width) == shape:
        return part
    return interpolate(part[None], size=shape, mode=mode, antialias=True)[0]


def move_boxes(boxes: Sequence[Box], view: View, size: int) -> list[Box | None]:
    """Boxes (left, top, width, height) in pixels of the shown square, clipped; None where half is lost."""
    moved: list[Box | None] = []
    across, down = size / view.width, size / view.height
    for x, y, w, h in boxes:
        left, right = max(x - view.left, 0.0), min(x + w - view.left, float(view.width))
        top, bottom = max(y - view.top, 0.0), min(y + h - view.top, float(view.height))
        if right <= left or bottom <= top or (right - left) * (bottom - top) <= 0.5 * w * h:
            moved.append(None)
            continue
        if view.flip:
            left, right = view.width - right, view.width - left
        moved.append((left * across, top * down, (right - left) * across, (bottom - top) * down))
    return moved


Normalisation = tuple[Channels, Channels]
"""Mean and standard deviation of the three channels, for pixels between 0 and 1."""
CLIP: Normalisation = (CLIP_MEAN, CLIP_STD)


def normalise(pixels: Tensor, normalisation: Normalisation = CLIP) -> Tensor:
    """(pixels / 255 - mean) / std: [B, 3, H, W] uint8 -> float32 on the same device."""
    mean, std = (torch.tensor(values, dtype=torch.float64).view(1, 3, 1, 1) for values in normalisation)
    scale = (1 / (255 * std)).to(pixels.device, torch.float32)
    shift = (-mean / std).to(pixels.device, torch.float32)
    return pixels.to(torch.float32).mul_(scale).add_(shift)
