"""Augmentation of training images: colours and RandAugment (arXiv 1909.13719), views, mixup and cutmix."""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from PIL.Image import Resampling
from torch import Tensor

from xfm.config.data import Augmentation
from xfm.config.image import ImageTrainingConfig, Operations
from xfm.core.errors import import_extra
from xfm.data.transforms import Box, Normalisation, View, crop_around, normalise, random_crop, torchvision_v2

MILD_RANGE = 0.15
_COUNT, _MAGNITUDE, _LARGEST = 2, 7, 10
Operation = Callable[[Tensor, float, float], Tensor]


def mild_colour(rng: np.random.Generator, pixels: Tensor) -> Tensor:
    """[3, H, W] uint8, brightness and contrast changed by up to 15 %; hues stay: captions name them."""
    brightness, contrast = (1 + MILD_RANGE * (2 * rng.random(2) - 1)).tolist()
    levels = brightness * (128 + contrast * (np.arange(256) - 128.0))
    table = np.clip(np.rint(levels), 0, 255).astype(np.uint8)
    return torch.from_numpy(np.take(table, pixels.numpy()))


def _affine(
    pixels: Tensor, angle: float = 0, across: float = 0, down: float = 0, shear: Sequence[float] = (0, 0)
) -> Tensor:
    return torchvision_v2().functional.affine(
        pixels,
        angle=angle,
        translate=[round(10 * across), round(10 * down)],  # pixels, at any size
        scale=1.0,
        shear=[math.degrees(math.atan(0.3 * one)) for one in shear],
        interpolation=torchvision_v2().InterpolationMode.BILINEAR,
        fill=[128.0, 128.0, 128.0],
    )


COLOUR: dict[str, Operation] = {
    "identity": lambda p, level, sign: p,
    "autocontrast": lambda p, level, sign: torchvision_v2().functional.autocontrast(p),
    "equalize": lambda p, level, sign: torchvision_v2().functional.equalize(p),
    "brightness": lambda p, level, sign: torchvision_v2().functional.adjust_brightness(p, 0.1 + 1.8 * level),
    "sharpness": lambda p, level, sign: torchvision_v2().functional.adjust_sharpness(p, 0.1 + 1.8 * level),
}
"""What regions get: nothing that moves a pixel."""
GEOMETRIC: dict[str, Operation] = {
    "shear_x": lambda p, level, sign: _affine(p, shear=(level * sign, 0)),
    "shear_y": lambda p, level, sign: _affine(p, shear=(0, level * sign)),
    "translate_x": lambda p, level, sign: _affine(p, across=level * sign),
    "translate_y": lambda p, level, sign: _affine(p, down=level * sign),
    "rotate": lambda p, level, sign: _affine(p, angle=30 * level * sign),
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
        if apply < 0.5:
            operation = [*operations.values()][int(which * len(operations))]
            pixels = operation(pixels, magnitude / _LARGEST, 1.0 if sign < 0.5 else -1.0)
    return pixels


def recolour(rng: np.random.Generator, pixels: Tensor, mode: Augmentation, has_boxes: bool) -> Tensor:
    """[3, S, S] uint8 after the crop: RandAugment(2, 7), of colour only with boxes; mild colour; none."""
    if mode is Augmentation.PUBLISHED:
        return rand_augment(rng, pixels, COLOUR if has_boxes else COLOUR | GEOMETRIC)
    return mild_colour(rng, pixels) if mode is Augmentation.MILD else pixels


GREY = 128
_SEEDS = 1 << 62
OWN_OPERATIONS = {Operations.PUBLISHED: COLOUR | GEOMETRIC, Operations.COLOUR: COLOUR}
"""Those that are neither torchvision's nor timm's, by name."""
Augment = Callable[[Tensor], Tensor]
"""[3, H, W] uint8 -> the same shape; draws from torch's global generator."""


def training_view(
    rng: np.random.Generator,
    config: ImageTrainingConfig,
    size: tuple[int, int],
    boxes: Sequence[Box] = (),
    may_flip: bool = True,
) -> View:
    """The view of a training image; boxes (left, top, right, bottom in pixels) stay in it entirely."""
    flip = config.flip * may_flip
    if config.crops and boxes:
        left, top = (min(box[side] for box in boxes) for side in (0, 1))
        right, bottom = (max(box[side] for box in boxes) for side in (2, 3))
        return crop_around(rng, *size, (left, top, right, bottom), config.crop, flip)
    if config.crops:
        return random_crop(rng, size, config.crop, config.aspect, flip)
    return View(0, 0, *size, bool(rng.random() < flip))


def augmentation(config: ImageTrainingConfig, shape: tuple[int, int]) -> Augment | None:
    """RandAugment of [height, width] images, or None; raises UserError without timm."""
    count, level = config.rand_augment, config.magnitude
    if not count:
        return None
    if config.operations is Operations.TIMM:
        return _timm(count, level, min(shape))
    if (operations := OWN_OPERATIONS.get(config.operations)) is not None:
        return lambda pixels: rand_augment(np.random.default_rng(_drawn()), pixels, operations, count, level)
    v2 = torchvision_v2()
    return v2.RandAugment(count, level, 11, interpolation=v2.InterpolationMode.BILINEAR, fill=GREY)


def _timm(count: int, level: int, side: int) -> Augment:
    timm = import_extra("timm.data.auto_augment", "image.operations timm", "timm")
    settings: dict[str, Any] = {"translate_const": int(side * 0.45), "img_mean": (GREY, GREY, GREY)}
    settings["interpolation"] = Resampling.BICUBIC
    functional = torchvision_v2().functional
    transform = timm.rand_augment_transform(f"rand-m{level}-n{count}-mstd0.5-inc1", settings)

    def augment(pixels: Tensor) -> Tensor:
        # The global generators of Python and NumPy, from which timm draws, are afterwards as before.
        before, numbers, seed = random.getstate(), np.random.get_state(), _drawn()  # noqa: NPY002
        random.seed(seed)
        np.random.seed(seed % (1 << 32))  # noqa: NPY002
        try:
            return functional.pil_to_tensor(transform(functional.to_pil_image(pixels)))
        finally:
            random.setstate(before)
            np.random.set_state(numbers)  # noqa: NPY002

    return augment


def _drawn() -> int:
    return int(torch.randint(_SEEDS, ()).item())


class Variation:
    """One image: random crop to `shape`, mirroring, RandAugment, normalisation, random erasing."""

    def __init__(
        self,
        config: ImageTrainingConfig,
        shape: tuple[int, int],
        normalisation: Normalisation,
        grey: bool = False,
    ) -> None:
        self.shape, self._normalisation, v2 = shape, normalisation, torchvision_v2()
        steps: list[Any] = [
            *([v2.Grayscale(3)] if grey else []),
            v2.RandomResizedCrop(
                shape,
                scale=(config.crop, 1.0),
                ratio=(1 / config.aspect, config.aspect),
                interpolation=v2.InterpolationMode.BICUBIC,
                antialias=True,
            ),
            v2.RandomHorizontalFlip(config.flip),
        ]
        if (augment := augmentation(config, shape)) is not None:
            steps.append(augment)
        self._vary = v2.Compose(steps)
        # On normalised pixels, so that the rectangle is noise around the mean colour.
        noise: Any = "random"  # torchvision's annotation forgets it
        self._erase = v2.RandomErasing(config.erasing, value=noise) if config.erasing else None

    def __call__(self, picture: Tensor, seed: int) -> Tensor:
        """[3, H, W] uint8 -> [3, S, S] float32, normalised; depends on the image and `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pixels = normalise(self._vary(picture)[None], self._normalisation)[0]
            return pixels if self._erase is None else self._erase(pixels)


class Mixup:
    """Mixup or cutmix of a batch, or neither; both draw from torch's global generator."""

    def __init__(self, config: ImageTrainingConfig, classes: int) -> None:
        self.classes, self.mixing = classes, config.mixing
        self.mixes: list[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = []
        if config.mixup:
            self.mixes.append(torchvision_v2().MixUp(alpha=config.mixup, num_classes=classes))
        if config.cutmix:
            self.mixes.append(torchvision_v2().CutMix(alpha=config.cutmix, num_classes=classes))

    def __call__(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """[B, 3, S, S] float and [B] int64 labels -> mixed pixels and class shares [B, C] float32."""
        if not self.mixes or torch.rand(()).item() >= self.mixing:
            return pixels, torch.nn.functional.one_hot(labels, self.classes).float()
        return self.mixes[int(torch.randint(len(self.mixes), ()).item())](pixels, labels)
