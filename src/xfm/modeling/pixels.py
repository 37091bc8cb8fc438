"""From a picture of any size to the pixels that a model takes."""

from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2.functional import center_crop, resize, rgb_to_grayscale

from xfm.data.transforms import Normalisation, View, normalise, show
from xfm.modeling.belongings import Preprocessing

STRIP = 16
"""Sides of longer strips have this ratio at most when their middle is cut out."""


def framed(picture: Tensor, preprocessing: Preprocessing) -> Tensor:
    """A picture in the model's shape: squashed to it or its centre, in grey where the model was trained so.

    Args:
        picture: [3, H, W] uint8.
        preprocessing: of the model.

    Returns:
        [3, S, S] uint8, resized by antialiased bicubic interpolation.
    """
    if preprocessing.grey:
        picture = rgb_to_grayscale(picture, 3)
    if (enlarged := preprocessing.framing.enlarged) is not None:
        return _centre(picture, preprocessing.shape, *enlarged)
    return show(picture, View(0, 0, picture.shape[2], picture.shape[1]), preprocessing.shape)


def _centre(picture: Tensor, shape: tuple[int, int], times: int, of: int) -> Tensor:
    """The centre of a picture whose shorter side was resized to `times / of` of the shape's: [3, S, S]."""
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
