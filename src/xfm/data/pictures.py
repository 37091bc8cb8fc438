"""Decoding of untrusted pictures: JPEG, PNG and WebP to uint8 tensors, with a limit on their size.

The size is read from the file's header before anything is decoded, so that a small file that claims to be
huge costs nothing. Headers are read as decoders read them: where a file means harm, a parser of one's own
sees another size.
"""

import io
import stat
import struct
import zlib
from pathlib import Path

import numpy as np
import torch
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from torch import Tensor
from torchvision.io import ImageReadMode, decode_jpeg, decode_webp

from xfm.errors import first_line

MAX_PIXELS = 64_000_000
MAX_SIDE = 65_535  # the longest of a JPEG: to shrink a longer strip takes gigabytes
MAX_BYTES = 64 << 20
_MAX_WORK = 200 * MAX_PIXELS  # scans times pixels of a JPEG: a good one has some ten scans
_JPEG = b"\xff\xd8\xff"
_SCAN = b"\xff\xda"  # stands nowhere else in a JPEG but, by chance, in what other programs put into it
_PNG = b"\x89PNG\r\n\x1a\n"
PICTURE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"]
)
"""How picture files are called, in small letters; what they are, their bytes say."""
BROKEN = (OSError, SyntaxError, ValueError, IndexError, struct.error, zlib.error, OverflowError)
"""What Pillow raises for damaged files."""


class PictureError(Exception):
    """A picture that cannot be used; the message says why."""


def read_picture(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a picture file.

    Raises:
        PictureError: when it cannot be read, is no regular file (a pipe would block), or is larger than
            `limit` bytes.
    """
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{path} is not a file")
        if status.st_size > limit:
            raise PictureError(f"{path} has {status.st_size} bytes, more than the limit of {limit}")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"the picture {path} cannot be read ({error.strerror})") from None
    except ValueError:  # a NUL or half a surrogate pair
        raise PictureError(f"{path} is not a path") from None


def picture_suffix(data: bytes) -> str:
    """How a file of these bytes is called: .jpg, .png or .webp by their beginning, .bin for anything else."""
    beginnings = {_JPEG: ".jpg", _PNG: ".png", b"RIFF": ".webp"}
    return next((suffix for start, suffix in beginnings.items() if data.startswith(start)), ".bin")


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels from the header of a JPEG, PNG or WebP.

    Raises:
        PictureError: for another format or a broken header.
    """
    try:
        if data.startswith((_JPEG, _PNG)):
            with _open(data) as picture:
                return picture.size
        if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
            return _webp_size(data)
    except BROKEN:
        raise PictureError("the picture's header is broken") from None
    raise PictureError("the picture is not a JPEG, PNG or WebP")


def _open(data: bytes) -> ImageFile:
    """A JPEG or PNG of which Pillow has read the header only. `Image.open` would add a limit of its own."""
    return (PngImageFile if data.startswith(_PNG) else JpegImageFile)(io.BytesIO(data))


def _webp_size(data: bytes) -> tuple[int, int]:
    # Pillow takes memory for the canvas to tell the size. The three layouts leave the decoder no other
    # reading: it refuses an extended file whose canvas is not the picture's.
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
    if max(width, height) > MAX_SIDE:
        raise PictureError(f"the picture has {width} x {height} pixels, and a side may have {MAX_SIDE}")
    # A progressive JPEG is refined scan by scan, and a scan of 95 bytes may work on every pixel again.
    if data.startswith(_JPEG) and (scans := data.count(_SCAN)) * width * height > _MAX_WORK:
        raise PictureError(f"the picture has {scans} scans, which would take minutes to decode")
    buffer = torch.frombuffer(
        bytearray(data), dtype=torch.uint8
    )  # a copy, as torch wants memory it may write to
    try:
        pixels = _decode(data, buffer)
    except RuntimeError as error:
        raise PictureError(f"the picture does not decode ({first_line(error)})") from None
    if tuple(pixels.shape[1:]) != (height, width):
        raise PictureError(f"the picture's header is broken (it claims {width} x {height} pixels)")
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
        with _open(data) as picture:
            if picture.mode.startswith("I"):  # 16-bit grey, which convert() would clip
                grey = torch.from_numpy(np.array(picture, dtype=np.int32) >> 8).to(torch.uint8)
                return grey.expand(3, -1, -1).contiguous()
            pixels = np.array(picture.convert("RGB"))
    except BROKEN as error:
        raise PictureError(f"the picture does not decode ({first_line(error)})") from None
    return torch.from_numpy(pixels).permute(2, 0, 1).contiguous()
