"""From a picture's header and bytes to upright RGB."""

import struct
import zlib
from contextlib import suppress

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xfm.core.errors import first_line
from xfm.data.picture_formats import BROKEN, Header, PictureError, PictureFormat, open_with_pillow
from xfm.data.picture_pieces import png_chunks

AT_ONCE = 1 << 20
"""Pixels that Pillow converts at a time: of a large picture each further copy is hundreds of megabytes."""
LEAST_SHARE = 0.1
"""Of a JPEG that ends early: less than this share of its rows shows nobody what it is."""
_END = b"\xff\xd9"
_MISSING = {"CMYK": 64}  # what a decoder of JPEG gives where the file has ended; of other modes
_GREY = 128
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
"""Of a pixel, by a PNG's kind of colour."""


def decode_pixels(data: bytes, header: Header) -> tuple[Tensor, str | None]:
    """[3, H, W] uint8, upright, and what is wrong with an image that is there in part only; raises
    PictureError. The size in the header has been checked."""
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
    """[3, H, W] uint8 of a Pillow image, not turned: what is transparent shows white; 16 bits are scaled to
    8; colour profiles are not applied. Raises PictureError where its numbers have no known range, BROKEN
    where it does not decode."""
    picture.load()
    if picture.mode == "F":
        raise PictureError(
            "the picture holds fractions, whose black and white are not told; scale it to 8 bits"
        )
    if picture.mode.startswith("I"):  # which convert() would clip
        values = np.array(picture, dtype=np.int32)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise PictureError("the picture holds numbers of more than 16 bits; scale it to 8 bits")
        clear = picture.info.get("transparency")
        grey = (values >> 8).astype(np.uint8)
        if isinstance(clear, int):
            grey[values == clear] = 255
        return torch.from_numpy(grey).expand(3, -1, -1).contiguous()
    width, height = picture.size
    rows = max(1, AT_ONCE // width)
    if rows >= height:
        return _shown(picture).contiguous()
    pixels = torch.empty(3, height, width, dtype=torch.uint8)
    for top in range(0, height, rows):
        pixels[:, top : top + rows] = _shown(picture.crop((0, top, width, min(top + rows, height))))
    return pixels


def _shown(picture: Image.Image) -> Tensor:
    """[3, H, W] uint8, in the layout of the array that Pillow gives."""
    if picture.has_transparency_data:
        shown = on_white(picture)
    else:
        shown = picture if picture.mode == "RGB" else picture.convert("RGB")
    return torch.from_numpy(np.array(shown)).permute(2, 0, 1)


def on_white(picture: Image.Image) -> Image.Image:
    """A picture with transparency over white; what is opaque keeps its colour exactly."""
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    layer = picture.convert("RGBA")
    page = Image.new("RGB", layer.size, "white")
    page.paste(layer, mask=layer)
    return page


def _with_pillow(data: bytes, header: Header) -> Tensor:
    """Pillow checks every chunk of a PNG; torchvision's decoder has crashed the process on damaged ones."""
    try:
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
