"""Colour and RandAugment operations on uint8 tensors, with draws from the sample's own generator."""

import math
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as F

from xfm.config.data import Augmentation

MILD_RANGE = 0.15
_APPLY = 0.5
_COUNT, _MAGNITUDE, _LARGEST = 2, 7, 10
Operation = Callable[[Tensor, float, float], Tensor]


def mild_colour(rng: np.random.Generator, pixels: Tensor) -> Tensor:
    """[3, H, W] uint8 with brightness and contrast changed by up to 15 %; hues stay, so that a caption's
    colours still hold."""
    brightness, contrast = (1 + MILD_RANGE * (2 * rng.random(2) - 1)).tolist()
    levels = brightness * (128 + contrast * (np.arange(256) - 128.0))
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return torch.from_numpy(np.take(table, pixels.numpy()))


def _affine(pixels: Tensor, angle: float = 0, dx: float = 0, dy: float = 0, shear: Sequence[float] = (0, 0)):
    return F.affine(
        pixels,
        angle=angle,
        translate=[dx, dy],
        scale=1.0,
        shear=list(shear),
        interpolation=InterpolationMode.BILINEAR,
        fill=[128.0, 128.0, 128.0],
    )


def _shear(level: float, sign: float) -> float:
    return math.degrees(math.atan(0.3 * level * sign))


def _shift(side: int, level: float, sign: float) -> int:
    """Pixels of a translation: 10 of 224 at most."""
    return round(side * level * sign * 10 / 224)


COLOUR: dict[str, Operation] = {
    "identity": lambda pixels, level, sign: pixels,
    "autocontrast": lambda pixels, level, sign: F.autocontrast(pixels),
    "equalize": lambda pixels, level, sign: F.equalize(pixels),
    "brightness": lambda pixels, level, sign: F.adjust_brightness(pixels, 0.1 + 1.8 * level),
    "sharpness": lambda pixels, level, sign: F.adjust_sharpness(pixels, 0.1 + 1.8 * level),
}
"""What regions get: nothing that moves a pixel."""
GEOMETRIC: dict[str, Operation] = {
    "shear_x": lambda pixels, level, sign: _affine(pixels, shear=(_shear(level, sign), 0)),
    "shear_y": lambda pixels, level, sign: _affine(pixels, shear=(0, _shear(level, sign))),
    "translate_x": lambda pixels, level, sign: _affine(pixels, dx=_shift(pixels.shape[2], level, sign)),
    "translate_y": lambda pixels, level, sign: _affine(pixels, dy=_shift(pixels.shape[1], level, sign)),
    "rotate": lambda pixels, level, sign: _affine(pixels, angle=30 * level * sign),
}


def rand_augment(
    rng: np.random.Generator,
    pixels: Tensor,
    operations: Mapping[str, Operation],
    count: int = _COUNT,
    magnitude: float = _MAGNITUDE,
) -> Tensor:
    """RandAugment(2, 7) of [3, H, W] uint8 (arXiv 1909.13719) as the published recipe uses it: operations are
    drawn with repetition, each is applied with probability 0.5; magnitudes go from 0 to 10."""
    for which, apply, sign in rng.random((count, 3)).tolist():
        if apply < _APPLY:
            operation = [*operations.values()][int(which * len(operations))]
            pixels = operation(pixels, magnitude / _LARGEST, 1.0 if sign < 0.5 else -1.0)
    return pixels


def recolour(rng: np.random.Generator, pixels: Tensor, mode: Augmentation, has_boxes: bool) -> Tensor:
    """The augmentation of [3, S, S] uint8 after the crop: RandAugment(2, 7), of colour only with boxes; mild
    colour; or none."""
    if mode is Augmentation.PUBLISHED:
        return rand_augment(rng, pixels, COLOUR if has_boxes else COLOUR | GEOMETRIC)
    return mild_colour(rng, pixels) if mode is Augmentation.MILD else pixels
