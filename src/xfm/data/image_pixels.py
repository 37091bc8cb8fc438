"""From a picture's header and bytes to upright RGB."""

import struct
import zlib
from collections.abc import Iterable
from contextlib import suppress

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
from xfm.data.image_pieces import png_chunks

LEAST_SHARE = 0.1
"""Of a JPEG that ends early: less than this share of its rows shows nobody what it is."""
_END = b"\xff\xd9"
_MISSING = {"CMYK": 64}  # what a decoder of JPEG gives where the file has ended; of other modes
_GREY = 128
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by a PNG's kind of colour."""


def decode_pixels(data: bytes, header: Header) -> tuple[Tensor, str | None]:
    """[3, H, W] uint8, upright, and the flaw of an image that is there in part; raises PictureError."""
    flaw = None
    if header.format is PictureFormat.JPEG:
        pixels, flaw = _jpeg(data, header)
    elif header.format is PictureFormat.WEBP and header.mode == "RGB" and not header.animated:
        pixels = _with_torchvision(data, header)
    else:
        pixels = _with_pillow(data, header)
        missing = 0 if header.mode in ("L", "RGB") else pixels[:, -1, :1]  # else the colour of transparent
        if header.format is PictureFormat.PNG and (pixels[:, -1] == missing).all():
            share = _png_share(data)
            flaw = _early_end(share) if share < 1 else None
    pixels = upright(pixels, header.orientation)
    if tuple(pixels.shape[1:]) != (header.height, header.width):
        raise PictureError(
            f"the picture's header is broken (it claims {header.width} x {header.height} pixels)"
        )
    return pixels, flaw


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


def _jpeg(data: bytes, header: Header) -> tuple[Tensor, str | None]:
    try:
        return _with_torchvision(data, header), None
    except PictureError:
        for kept in (data, data[: _last_segment(data)]):
            try:
                pixels = _with_pillow(
                    kept + _END, header
                )  # of what is missing, torchvision's writes to stderr
            except PictureError:
                continue
            share = rows_there(pixels, _MISSING.get(header.mode, _GREY)) / pixels.shape[1]
            return pixels, _early_end(share)
        raise


def _early_end(share: float) -> str:
    if share < LEAST_SHARE:
        raise PictureError(f"the picture's file ends early, with {share:.0%} of its rows, too little to use")
    return f"the picture's file ends early: {share:.0%} of its rows are there"


def _png_share(data: bytes) -> float:
    """How much of its rows a PNG has: those that are missing, Pillow leaves empty without a word."""
    width, height, depth, colour = struct.unpack(">IIBB", data[16:26])
    whole = height * (1 + (width * depth * _SAMPLES[colour] + 7) // 8)  # interlaced, it has some bytes more
    unpacking, found = zlib.decompressobj(), 0
    with suppress(zlib.error):
        for kind, body in png_chunks(data):
            while kind == b"IDAT" and body and found < whole:
                found += len(unpacking.decompress(body, 1 << 20))
                body = unpacking.unconsumed_tail
    return found / whole


def _last_segment(data: bytes) -> int:
    """Where the last segment of a JPEG begins: 00 and RST after FF stand within the pixels' code."""
    place = len(data)
    while (place := data.rfind(b"\xff", 0, place)) > 0:
        if data[place + 1 : place + 2] not in (b"", b"\0", b"\xff", *(bytes([0xD0 + n]) for n in range(8))):
            return place
    return 0


def rows_there(pixels: Tensor, missing: int) -> int:
    """Rows of [3, H, W] pixels before those whose right half has the value `missing` only. Rows are decoded
    in bands of blocks, from the left; of the last band, less than a half does not count."""
    there = (pixels[:, :, pixels.shape[2] // 2 :] != missing).any(dim=0).any(dim=1).nonzero()
    return int(there[-1]) + 1 if len(there) else 0
