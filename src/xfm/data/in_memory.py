"""Pictures that are in memory already: Pillow's, arrays and tensors."""

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xfm.data.pictures import BROKEN, MAX_PIXELS
from xfm.errors import UserError

Picture = Image.Image | np.ndarray | Tensor


def to_uint8(picture: Picture) -> Tensor:
    """A picture as a tensor [3, H, W] uint8; transparency is dropped, as it is of files.

    Args:
        picture: a PIL picture of any mode, a uint8 array [H, W], [H, W, 1], [H, W, 3] or [H, W, 4], or a
            uint8 tensor [3, H, W], [1, H, W] or [4, H, W].

    Raises:
        UserError: something else, an empty picture, or one larger than any that is decoded.
    """
    if isinstance(picture, Image.Image):
        return _from_pillow(picture)
    pixels = picture
    if isinstance(pixels, np.ndarray):
        pixels = torch.from_numpy(np.ascontiguousarray(pixels)) if pixels.dtype == np.uint8 else None
        if pixels is not None:
            pixels = pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)
    fits = isinstance(pixels, Tensor) and pixels.dtype == torch.uint8 and pixels.ndim == 3
    if not fits or pixels is None or pixels.shape[0] not in (1, 3, 4) or 0 in pixels.shape:
        kind = getattr(picture, "dtype", type(picture).__name__)
        raise UserError(
            "a picture must be a PIL picture, a uint8 array [H, W, 3] or a uint8 tensor [3, H, W], not "
            f"{kind} {list(getattr(picture, 'shape', []))}; convert it first"
        )
    _check_size(pixels.shape[2], pixels.shape[1])
    channels = pixels.shape[0]
    return (pixels.expand(3, -1, -1) if channels == 1 else pixels[:3]).contiguous()


def _from_pillow(picture: Image.Image) -> Tensor:
    """Pillow reads a file's pixels only now, so that its size is known before."""
    _check_size(*picture.size)
    try:
        if picture.mode.startswith("I"):  # 16-bit grey, which convert() would clip
            grey = torch.from_numpy(np.clip(np.array(picture, dtype=np.int32) >> 8, 0, 255)).to(torch.uint8)
            return grey.expand(3, -1, -1).contiguous()
        return torch.from_numpy(np.array(picture.convert("RGB"))).permute(2, 0, 1).contiguous()
    except BROKEN as error:
        raise UserError(f"the PIL picture does not decode ({error}); open another file") from error


def _check_size(width: int, height: int) -> None:
    if width < 1 or height < 1:
        raise UserError(f"the picture is empty ({width} x {height} pixels); leave it out")
    if width * height > MAX_PIXELS:
        raise UserError(
            f"the picture has {width} x {height} pixels, more than the limit of {MAX_PIXELS}; shrink it"
        )
