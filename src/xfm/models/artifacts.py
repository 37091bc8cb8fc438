"""What belongs to a model: tokenizer, preprocessing (and what it does to a picture), provenance, task."""

import math
from dataclasses import dataclass, replace
from typing import Any

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize, rgb_to_grayscale

from xfm.config.artifacts import SelfCheck
from xfm.config.image import CLIP_MEAN, CLIP_STD, Colours, Framing
from xfm.config.labels import MatchCalibration
from xfm.core.errors import UserError
from xfm.data.tokenizer import Tokenizer
from xfm.data.transforms import Normalisation, View, normalise, show
from xfm.models.task_models import TaskModel

CODE_LICENCE = "Apache-2.0"


@dataclass(frozen=True)
class Preprocessing:
    """Image preprocessing: resized to `image_size` (height) x `image_width` (None: square) pixels, scaled
    to [0, 1], normalised by `mean` and `std` per channel; `grey`: all channels show the brightness."""

    image_size: int
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    interpolation: str = "bicubic"
    image_width: int | None = None
    framing: Framing = Framing.SQUASH
    grey: bool = False

    def __post_init__(self) -> None:
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) != 3 or not all(math.isfinite(value) for value in values):
                raise ValueError(f"{name} must be three numbers, one a channel")
        if min(self.std) <= 0:
            raise ValueError("std must be larger than 0")
        if self.interpolation != "bicubic":
            raise ValueError(f"interpolation is {self.interpolation}: only bicubic is computed")

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        return self.image_size, self.image_width or self.image_size

    def seen_as(self, framing: Framing | None, colours: Colours) -> "Preprocessing":
        """The same with another framing, and other normalisation where `colours` has its own."""
        mean, std = colours.normalisation or (self.mean, self.std)
        return replace(self, framing=framing or self.framing, mean=mean, std=std)


UNSEEN = Preprocessing(224)
"""Of a model of language alone: no picture is prepared by it, and no folder holds it."""


@dataclass(frozen=True)
class Belongings:
    """Tokenizer, preprocessing, provenance and task of a model. `calibration` turns matching odds into a
    probability and is valid for these weights alone: whatever trains on must drop it."""

    given_tokenizer: Tokenizer | None
    preprocessing: Preprocessing
    provenance: dict[str, Any]
    task: TaskModel | None = None
    calibration: MatchCalibration | None = None
    check: SelfCheck | None = None

    @property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer; a UserError where the model has none."""
        if self.given_tokenizer is None:
            raise UserError(
                "the model has no tokenizer, and texts need one; convert or load it again with --tokenizer "
                "(in Python, tokenizer=), for published weights RoBERTa's"
            )
        return self.given_tokenizer


STRIP = 16
"""Sides of longer strips have this ratio at most when their middle is cut out."""


def framed(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    """[3, H, W] uint8 image -> [3, S, S] uint8: squashed or centre-cropped, antialiased bicubic, grey if
    the model is."""
    if preprocessing.grey:
        picture = rgb_to_grayscale(picture, 3)
    if (enlarged := preprocessing.framing.enlarged) is not None:
        return _centre(picture, preprocessing.shape, *enlarged)
    return show(picture, View(0, 0, picture.shape[2], picture.shape[1]), preprocessing.shape)


def _centre(picture: Tensor, shape: tuple[int, int], times: int, of: int) -> Tensor:
    height, width = shape
    tall, wide = picture.shape[1:]
    # Of a long strip only the middle is seen; the whole of it in that width would take all memory.
    picture = center_crop(picture, [min(tall, STRIP * wide), min(wide, STRIP * tall)])
    tall, wide = picture.shape[1:]
    if wide * height <= tall * width:  # the width is what is scarce
        across = round(width * times / of)
        size = [across * tall // wide, across]
    else:
        down = round(height * times / of)
        size = [down, down * wide // tall]
    return center_crop(resize(picture, size, InterpolationMode.BICUBIC, antialias=True), [height, width])


def model_pixels(pictures: Tensor, preprocessing: Preprocessing) -> Tensor:
    """[N, 3, S, S] uint8 -> float32 pixels as the model takes them."""
    return normalise(pictures, Normalisation(preprocessing.mean, preprocessing.std))
