"""Pictures that are in memory already: Pillow's, arrays and tensors."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xfm.core.errors import UserError, first_line
from xfm.data.exif import orientation_of
from xfm.data.picture_formats import BROKEN, PictureError
from xfm.data.picture_pixels import on_white, rgb_of, upright
from xfm.data.pictures import check_size

Picture = Image.Image | np.ndarray | Tensor


def to_uint8(picture: Picture) -> Tensor:
    """[3, H, W] uint8 of a PIL image of any mode, a uint8 array [H, W] or [H, W, 1 | 3 | 4], or a uint8
    tensor [1 | 3 | 4, H, W]; upright, and white where it is transparent. Raises UserError for anything else,
    or an image that is empty or too large."""
    try:
        return _from_pillow(picture) if isinstance(picture, Image.Image) else _from_pixels(picture)
    except PictureError as error:
        raise UserError(str(error)) from error


def _from_pixels(picture: np.ndarray | Tensor) -> Tensor:
    pixels = picture
    if isinstance(pixels, np.ndarray):
        pixels = (
            torch.from_numpy(np.require(pixels, requirements=["C", "W"]))
            if pixels.dtype == np.uint8
            else None
        )
        if pixels is not None:
            pixels = pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)
    fits = isinstance(pixels, Tensor) and pixels.dtype == torch.uint8 and pixels.ndim == 3
    if not fits or pixels is None or pixels.shape[0] not in (1, 3, 4) or 0 in pixels.shape:
        kind = getattr(picture, "dtype", type(picture).__name__)
        raise UserError(
            "a picture must be a PIL picture, a uint8 array [H, W, 3] or a uint8 tensor [3, H, W], not "
            f"{kind} {list(getattr(picture, 'shape', []))}; convert it first"
        )
    check_size(pixels.shape[2], pixels.shape[1])
    if pixels.shape[0] == 4:
        layer = Image.fromarray(pixels.movedim(0, -1).contiguous().cpu().numpy(), "RGBA")
        return torch.from_numpy(np.array(on_white(layer))).permute(2, 0, 1).contiguous()
    return pixels.expand(3, -1, -1).contiguous()


def _from_pillow(picture: Image.Image) -> Tensor:
    """Pillow reads a file's pixels only now, so that its size is known before."""
    check_size(*picture.size)
    try:
        pixels = rgb_of(picture)  # only then Pillow has read all of a file's EXIF, or has obeyed it
        return upright(pixels, orientation_of(picture.info.get("exif")))
    except BROKEN as error:
        raise UserError(
            f"the PIL picture does not decode ({first_line(error)}); open another file"
        ) from error
