"""Decoding of untrusted pictures: JPEG, PNG and WebP to uint8 tensors, with a limit on their size.

The size is read from the file's header before anything is decoded, so that a small file that claims to be
huge costs nothing.
"""

import io
import struct
import zlib

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, decode_webp

MAX_PIXELS = 64_000_000
_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
# Start-of-frame markers: C0-CF without DHT (C4), JPG (C8) and DAC (CC).
_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
_STANDALONE = frozenset((0x01, *range(0xD0, 0xD9)))


class PictureError(Exception):
    """A picture that cannot be used; the message says why."""


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels from the header of a JPEG, PNG or WebP.

    Raises:
        PictureError: for another format or a broken header.
    """
    try:
        if data.startswith(_JPEG):
            return _jpeg_size(data)
        if data.startswith(_PNG) and data[12:16] == b"IHDR":
            width, height = struct.unpack_from(">II", data, 16)
            return width, height
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
    except (struct.error, IndexError):
        raise PictureError("the picture's header is broken") from None
    raise PictureError("the picture is not a JPEG, PNG or WebP")


def _jpeg_size(data: bytes) -> tuple[int, int]:
    place = 2
    while place < len(data):
        if data[place] != 0xFF:
            break
        marker = data[place + 1]
        if marker == 0xFF:  # fill byte
            place += 1
        elif marker in _STANDALONE:
            place += 2
        elif marker in _FRAMES:
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        else:
            place += 2 + struct.unpack_from(">H", data, place + 2)[0]
    raise PictureError("the picture's header is broken")


def _webp_size(data: bytes) -> tuple[int, int]:
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return width & 0x3FFF, height & 0x3FFF
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        return (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1
    if chunk == b"VP8X":
        width = int.from_bytes(data[24:27], "little") + 1
        return width, int.from_bytes(data[27:30], "little") + 1
    raise PictureError("the picture's header is broken")


def decode_picture(data: bytes, max_pixels: int = MAX_PIXELS) -> Tensor:
    """Decode a JPEG, PNG or WebP to RGB; transparency is dropped and EXIF rotation is not applied.

    Args:
        data: the file's bytes.
        max_pixels: larger pictures are refused before decoding.

    Returns:
        [3, H, W] uint8.

    Raises:
        PictureError: when the picture is too large, truncated or broken.
    """
    width, height = picture_size(data)
    if width < 1 or height < 1:
        raise PictureError(f"the picture is empty ({width} x {height} pixels)")
    if width * height > max_pixels:
        raise PictureError(f"the picture has {width} x {height} pixels, more than the limit of {max_pixels}")
    buffer = torch.frombuffer(
        bytearray(data), dtype=torch.uint8
    )  # a copy, as torch wants memory it may write to
    try:
        pixels = _decode(data, buffer)
    except RuntimeError as error:
        raise PictureError(f"the picture does not decode ({_first_line(error)})") from None
    if pixels.dtype != torch.uint8:  # 16-bit PNG
        pixels = (pixels.to(torch.int32) >> 8).to(torch.uint8)
    return pixels


def _decode(data: bytes, buffer: Tensor) -> Tensor:
    if data.startswith(_JPEG):
        pixels = decode_jpeg(buffer, mode=ImageReadMode.RGB)
        assert isinstance(pixels, Tensor)  # a list comes back for a list of pictures only
        return pixels
    if data.startswith(_PNG):
        return _decode_png(data)
    return decode_webp(buffer, mode=ImageReadMode.RGB)


def _decode_png(data: bytes) -> Tensor:
    """Pillow checks every chunk; torchvision's decoder has crashed the process on damaged ones."""
    try:
        with Image.open(io.BytesIO(data), formats=["PNG"]) as picture:
            if picture.mode.startswith("I"):  # 16-bit grey, which convert() would clip
                grey = torch.from_numpy(np.array(picture, dtype=np.int32) >> 8).to(torch.uint8)
                return grey.expand(3, -1, -1).contiguous()
            pixels = np.array(picture.convert("RGB"))
    except (OSError, SyntaxError, ValueError, struct.error, zlib.error) as error:
        raise PictureError(f"the picture does not decode ({_first_line(error)})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__
