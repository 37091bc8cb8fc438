"""Decoding of untrusted pictures to upright uint8 tensors, with a limit on their size.

What a picture is, its bytes tell, not its name. Its size is read from the header before anything is decoded,
so that a small file that claims to be huge costs nothing.
"""

import os
import stat
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor

from xfm.core.errors import UserError
from xfm.data.picture_formats import Header, PictureError, PictureFormat, format_of, read_picture_header
from xfm.data.picture_pixels import decode_pixels

MAX_PIXELS = 64_000_000
LIMIT_VARIABLE = "XFM_MAX_PIXELS"
"""Of the environment: sets the limit of pixels in every command, and raises that of bytes in proportion."""
MAX_SIDE = 65_535  # the longest of a JPEG: to shrink a longer strip takes gigabytes
MAX_BYTES = 64 << 20
_SCANS = 20  # times the limit of pixels is the most work of a JPEG: a good one has some ten scans
_SCAN = b"\xff\xda"  # stands nowhere else in a JPEG but, by chance, in what other programs put into it
PICTURE_SUFFIXES = frozenset(
    [".jpg", ".jpeg", ".jfif", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif"]
)
"""How picture files are called, in small letters; what they are, their bytes say."""


@dataclass(frozen=True)
class Decoded:
    """[3, H, W] uint8 RGB pixels, upright; the flaw of an image that is there in part only; a digest of the
    file, or empty."""

    pixels: Tensor
    flaw: str | None = None
    mark: str = ""


def pixel_limit() -> int:
    """Most pixels of an image: `XFM_MAX_PIXELS` of the environment, or 64 million; raises UserError."""
    given = os.environ.get(LIMIT_VARIABLE, "").strip()
    if not given:
        return MAX_PIXELS
    if not given.isdecimal() or not 0 < int(given[:20]) < 1 << 40:
        raise UserError(f"{LIMIT_VARIABLE} is {given!r}; give a number of pixels, such as {2 * MAX_PIXELS}")
    return int(given)


def byte_limit() -> int:
    """How many bytes a picture's file may have: 64 MiB, and more where `XFM_MAX_PIXELS` is raised."""
    return max(MAX_BYTES, MAX_BYTES * pixel_limit() // MAX_PIXELS)


def check_size(width: int, height: int, limit: int | None = None) -> None:
    """Refuse an image of no pixels or of more than `limit` (`pixel_limit()` if None) by PictureError."""
    if width < 1 or height < 1:
        raise PictureError(f"the picture is empty ({width} x {height} pixels)")
    shown = f"the picture has {width} x {height} pixels"
    if width * height > (limit := limit or pixel_limit()):
        raise PictureError(
            f"{shown}, more than the limit of {limit}: shrink it, or set {LIMIT_VARIABLE}={width * height}"
        )
    if max(width, height) > MAX_SIDE:
        raise PictureError(f"{shown}, and a side may have {MAX_SIDE}: cut it up or shrink it")


def read_picture(path: Path, limit: int | None = None) -> bytes:
    """The bytes of an image file; raises PictureError when it cannot be read, is no regular file (a pipe
    would block), or has more than `limit` bytes (by default `byte_limit()`)."""
    try:
        status = path.stat()
        if not stat.S_ISREG(status.st_mode):
            raise PictureError(f"{path} is not a file")
        if status.st_size > (limit := limit or byte_limit()):
            raise PictureError(f"{path} {too_many_bytes(status.st_size, limit)}")
        return path.read_bytes()
    except OSError as error:
        raise PictureError(f"the picture {path} cannot be read ({error.strerror})") from None
    except ValueError:  # a NUL or half a surrogate pair
        raise PictureError(f"{path} is not a path") from None


def too_many_bytes(size: int, limit: int) -> str:
    """What is wrong with a picture of more bytes than the limit, and how that is lifted."""
    needed = -(-size * MAX_PIXELS // MAX_BYTES)
    return f"has {size} bytes, more than the limit of {limit}: shrink it, or set {LIMIT_VARIABLE}={needed}"


def picture_suffix(data: bytes) -> str:
    """How a file of these bytes is called, such as .jpg; .bin for what is no picture."""
    return format_of(data) or ".bin"


def picture_size(data: bytes) -> tuple[int, int]:
    """Width and height in pixels of an image file, upright, from its header; raises PictureError."""
    header = checked_header(data)
    return header.width, header.height


def checked_header(data: bytes, max_pixels: int | None = None) -> Header:
    """The header of an image whose size and work are within the limits; raises PictureError."""
    limit = max_pixels or pixel_limit()
    header = read_picture_header(data, limit)
    check_size(header.width, header.height, limit)
    pixels = header.width * header.height
    # A progressive JPEG is refined scan by scan, and a scan of 95 bytes may work on every pixel again.
    if header.format is PictureFormat.JPEG:
        scans = data.count(_SCAN)
        if scans * pixels > _SCANS * max(limit, MAX_PIXELS):
            raise PictureError(
                f"the picture has {scans} scans, which would take long to decode: save it anew"
            )
    return header


def decode(data: bytes, max_pixels: int | None = None) -> Decoded:
    """Decode an image to upright RGB: the first frame of an animation; white where it is transparent; 16 bits
    scaled to 8; colour profiles not applied; a JPEG that ends early as far as it goes. Raises PictureError
    when it is broken or has more than `max_pixels` (`pixel_limit()` if None), the latter before decoding."""
    return Decoded(*decode_pixels(data, checked_header(data, max_pixels)))
