"""From a picture's header and bytes to upright RGB."""

from collections.abc import Iterable

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xfm.core.errors import first_line
from xfm.data.image_formats import (
    BROKEN,
    Header,
    PictureError,
    PictureFormat,
    open_with_pillow,
    parse_tiff,
    rgb_strips,
)


def decode_pixels(data: bytes, header: Header) -> Tensor:
    """[3, H, W] uint8, upright; raises PictureError."""
    if header.format is PictureFormat.JPEG:
        try:
            pixels = _with_torchvision(data, header)
        except PictureError:  # Pillow reads some that torchvision does not
            pixels = _with_pillow(data, header)
    elif header.format is PictureFormat.WEBP and header.mode == "RGB" and not header.animated:
        pixels = _with_torchvision(data, header)
    else:
        pixels = _with_pillow(data, header)
    pixels = upright(pixels, header.orientation)
    if tuple(pixels.shape[1:]) != (header.height, header.width):
        raise PictureError(
            f"the picture's header is broken (it claims {header.width} x {header.height} pixels)"
        )
    return pixels


def upright(pixels: Tensor, orientation: int) -> Tensor:
    """Turn stored pixels [3, H, W] as their orientation (1 to 8, of EXIF) says; 5 to 8 swap H and W."""
    if orientation == 1:
        return pixels  # as the decoder laid them out: a copy would cost as much as decoding
    if orientation >= 5:
        pixels = pixels.transpose(1, 2)
    flips = {2: (2,), 3: (1, 2), 4: (1,), 6: (2,), 7: (1, 2), 8: (1,)}.get(orientation, ())
    return (pixels.flip(flips) if flips else pixels).contiguous()


def rgb_of(picture: Image.Image) -> Tensor:
    """[3, H, W] uint8 of a Pillow image, as `rgb_strips`."""
    picture.load()
    return _joined(rgb_strips(picture), *picture.size)


def _joined(strips: Iterable[np.ndarray], width: int, height: int) -> Tensor:
    pixels, top = torch.empty(3, height, width, dtype=torch.uint8), 0
    for strip in strips:
        pixels[:, top : top + len(strip)] = torch.from_numpy(strip).permute(2, 0, 1)
        top += len(strip)
    return pixels


def _with_pillow(data: bytes, header: Header) -> Tensor:
    """Pillow checks every chunk of a PNG; torchvision's decoder has crashed the process on damaged ones."""
    try:
        if header.format is PictureFormat.TIFF:
            strips = parse_tiff("tiff_pixels", data)
            arrays = (np.frombuffer(bytearray(one), np.uint8).reshape(-1, header.width, 3) for one in strips)
            return _joined(arrays, header.width, header.height)
        with open_with_pillow(data, header.format) as picture:
            return rgb_of(picture)
    except BROKEN as error:
        raise PictureError(f"the picture does not decode ({first_line(error)})") from None


def _with_torchvision(data: bytes, header: Header) -> Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg, decode_webp  # late: it takes longer than torch

    buffer = torch.frombuffer(
        bytearray(data), dtype=torch.uint8
    )  # a copy, as torch wants to be able to write
    try:
        decode = decode_jpeg if header.format is PictureFormat.JPEG else decode_webp
        pixels = decode(buffer, mode=ImageReadMode.RGB)
    except RuntimeError as error:
        raise PictureError(f"the picture does not decode ({first_line(error)})") from None
    assert isinstance(pixels, Tensor)  # a list comes back for a list of pictures only
    return pixels
