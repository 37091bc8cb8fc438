"""Decoding of untrusted pictures to upright uint8 tensors, with a limit on their size.

What a picture is, its bytes tell, not its name. Its size is read from the header before anything is decoded,
so that a small file that claims to be huge costs nothing.
"""

import errno
import io
import json
import os
from collections.abc import Callable, Iterable
from functools import lru_cache
from hashlib import blake2b
from importlib.util import find_spec
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from xfm.core.errors import UserError, first_line
from xfm.core.files import read_bytes
from xfm.core.sandbox import ParsingError, parsed
from xfm.data.image_formats import (
    BROKEN,
    Header,
    ImageError,
    ImageFormat,
    format_of,
    on_white,
    open_with_pillow,
    orientation_of,
    parse_tiff,
    read_image_header,
    rgb_strips,
)


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
        if header.format is ImageFormat.TIFF:
            strips = parse_tiff("tiff_pixels", data)
            arrays = (np.frombuffer(bytearray(one), np.uint8).reshape(-1, header.width, 3) for one in strips)
            return _joined(arrays, header.width, header.height)
        with open_with_pillow(data, header.format) as picture:
            return rgb_of(picture)
    except BROKEN as error:
        raise ImageError(f"the picture does not decode ({first_line(error)})") from None


def _with_torchvision(data: bytes, header: Header) -> Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg, decode_webp  # late: it takes longer than torch

    buffer = torch.frombuffer(bytearray(data), dtype=torch.uint8)  # a copy, which torch might write to
    try:
        decode = decode_jpeg if header.format is ImageFormat.JPEG else decode_webp
        pixels = decode(buffer, mode=ImageReadMode.RGB)
    except RuntimeError as error:
        raise ImageError(f"the picture does not decode ({first_line(error)})") from None
    assert isinstance(pixels, Tensor)  # a list comes back for a list of pictures only
    return pixels


MAX_PIXELS = 64_000_000
LIMIT_VARIABLE = "XFM_MAX_PIXELS"
"""Of the environment: sets the limit of pixels in every command, and raises that of bytes in proportion."""
MAX_SIDE = 65_535  # the longest of a JPEG: to shrink a longer strip takes gigabytes
MAX_BYTES = 64 << 20
_SCANS = 20  # times the limit of pixels is the most work of a JPEG: a good one has some ten scans
_SCAN = b"\xff\xda"  # stands nowhere else in a JPEG but, by chance, in what other programs put into it
_NAMED = ".jpg .jpeg .jfif .png .webp .gif .bmp .tif .tiff .heic .heif .avif"
_RAW = "3fr arw cr2 cr3 crw dcr dng erf fff iiq kdc mef mos mrw nef nrw orf pef raf rw2 rwl sr2 srf srw x3f"
RAW_SUFFIXES = frozenset(f".{name}" for name in _RAW.split())
"""How cameras call what their sensors saw: most of them are TIFFs to their bytes."""
RAW_NEEDS = "camera RAW needs rawpy: pip install 'xfm[raw]'"
PICTURE_SUFFIXES = frozenset(_NAMED.split()) | (RAW_SUFFIXES if find_spec("rawpy") else frozenset())
"""How files are called that are read, in small letters; what others than RAW are, their bytes say."""


class UnreadableImage(UserError):
    """A picture cannot be read or decoded, so that its row may be left out."""


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
    """Refuse an image of no pixels or of more than `limit` (`pixel_limit()` if None) by ImageError."""
    if width < 1 or height < 1:
        raise ImageError(f"the picture is empty ({width} x {height} pixels)")
    shown = f"the picture has {width} x {height} pixels"
    if width * height > (limit := limit or pixel_limit()):
        shrink = f"shrink it, or set {LIMIT_VARIABLE}={width * height}"
        raise ImageError(f"{shown}, more than the limit of {limit}: {shrink}")
    if max(width, height) > MAX_SIDE:
        raise ImageError(f"{shown}, and a side may have {MAX_SIDE}: cut it up or shrink it")


def read_image(path: Path) -> bytes:
    """The bytes of an image file, of camera RAW a JPEG of it; raises ImageError when it cannot be read, is no
    regular file (a pipe would block), or has more than `byte_limit()` bytes, of RAW four times as many."""
    suffix = path.suffix.lower()
    limit = byte_limit() * (4 if suffix in RAW_SUFFIXES else 1)  # two bytes a pixel, and previews
    try:
        data = read_bytes(path, limit)
        if not data or suffix not in RAW_SUFFIXES or format_of(data) not in (None, ImageFormat.TIFF):
            return data
        if suffix not in PICTURE_SUFFIXES:
            raise ImageError(RAW_NEEDS)
        pieces = parsed("xfm.data.parsers:camera_raw", os.path.abspath(path))
        check_size(*json.loads(next(pieces)))
        return b"".join(pieces)
    except (ImageError, ParsingError) as error:
        told = str(error)[2:-1] if str(error).startswith("b'") else str(error)  # LibRaw's are bytes
        raise ImageError(f"the picture {path} cannot be read ({told})") from None
    except OSError as error:
        if error.errno == errno.EFBIG:
            raise ImageError(f"{path} {too_many_bytes(os.path.getsize(path), limit)}") from None
        raise ImageError(f"the picture {path} cannot be read ({error.strerror})") from None
    except ValueError:  # a NUL or half a surrogate pair
        raise ImageError(f"{path} is not a path") from None


def too_many_bytes(size: int, limit: int, picture: bool = True) -> str:
    """What is wrong with a file of more bytes than the limit, and how that of pictures is lifted."""
    lifted = f": shrink it, or set {LIMIT_VARIABLE}={-(-size * MAX_PIXELS // MAX_BYTES)}" if picture else ""
    return f"has {size} bytes, more than the limit of {limit}{lifted}"


def image_suffix(data: bytes) -> str:
    """How a file of these bytes is called, such as .jpg; .bin for what is no picture."""
    return format_of(data) or ".bin"


def checked_header(data: bytes, max_pixels: int | None = None) -> Header:
    """The header of an image whose size and work are within the limits; raises ImageError."""
    limit = max_pixels or pixel_limit()
    header = read_image_header(data)
    check_size(header.width, header.height, limit)
    pixels = header.width * header.height
    # A progressive JPEG is refined scan by scan, and a scan of 95 bytes may work on every pixel again.
    if header.format is ImageFormat.JPEG:
        scans = data.count(_SCAN)
        if scans * pixels > _SCANS * max(limit, MAX_PIXELS):
            raise ImageError(f"the picture has {scans} scans, which would take long to decode: resave it")
    return header


def decode(data: bytes, max_pixels: int | None = None) -> Tensor:
    """[3, H, W] uint8 upright RGB pixels of an image: the first frame of an animation; white where it is
    transparent; 16 bits scaled to 8; colour profiles not applied. Raises ImageError when it is broken, ends
    early or has more than `max_pixels` (`pixel_limit()` if None), the latter before decoding."""
    header = checked_header(data, max_pixels)
    if header.format is ImageFormat.JPEG:
        try:
            pixels = _with_torchvision(data, header)
        except ImageError:  # Pillow reads some that torchvision does not
            pixels = _with_pillow(data, header)
    elif header.format is ImageFormat.WEBP and header.mode == "RGB" and not header.animated:
        pixels = _with_torchvision(data, header)
    else:
        pixels = _with_pillow(data, header)
    pixels = upright(pixels, header.orientation)
    if tuple(pixels.shape[1:]) != (header.height, header.width):
        size = f"{header.width} x {header.height} pixels"
        raise ImageError(f"the picture's header is broken (it claims {size})")
    return pixels


T = TypeVar("T")


def load_image(path: Path | str, max_pixels: int | None = None) -> Tensor:
    """[3, H, W] uint8 pixels of an image file, as by `decode`; raises UnreadableImage."""
    return _used(Path(path), lambda data: decode(data, max_pixels))


def load_with_digest(path: Path | str) -> tuple[Tensor, str]:
    """The pixels of `load_image`, and a digest of the file."""
    return _used(Path(path), lambda data: (decode(data), blake2b(data, digest_size=8).hexdigest()))


@lru_cache(maxsize=1 << 16)  # many rows share a picture
def image_size(path: Path | str) -> tuple[int, int]:
    """Width and height in pixels of an image file, upright, from its header; raises UnreadableImage."""
    header = _used(Path(path), checked_header)
    return header.width, header.height


def _used(path: Path, use: Callable[[bytes], T]) -> T:
    try:
        data = read_image(path)
    except ImageError as error:  # it names the path
        raise UnreadableImage(f"{error}; check the file") from error
    try:
        return use(data)
    except ImageError as error:
        raise UnreadableImage(f"{path}: {error}; replace the file") from error


def to_png(pixels: Tensor) -> bytes:
    """Pixels [3, H, W] uint8 as a PNG."""
    out = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).cpu().numpy()).save(out, "png", compress_level=1)
    return out.getvalue()


DecodedImage = Image.Image | np.ndarray | Tensor


def to_uint8(picture: DecodedImage) -> Tensor:
    """[3, H, W] uint8 of a PIL image of any mode, a uint8 array [H, W] or [H, W, 1 | 3 | 4], or a uint8
    tensor [1 | 3 | 4, H, W]; upright, white where transparent. UserError for others, empty or too large."""
    if isinstance(picture, Image.Image):
        try:
            check_size(*picture.size)  # Pillow reads a file's pixels only now
            pixels = rgb_of(picture)  # only then Pillow has read all of a file's EXIF, or has obeyed it
            return upright(pixels, orientation_of(picture.info.get("exif")))
        except ImageError as error:
            raise UserError(str(error)) from error
        except BROKEN as error:
            raise UserError(f"the PIL picture does not decode ({first_line(error)}); open another") from error
    pixels = picture
    if isinstance(picture, np.ndarray) and picture.dtype == np.uint8:
        pixels = torch.from_numpy(np.require(picture, requirements=["C", "W"]))
        pixels = pixels[None] if pixels.ndim == 2 else pixels.movedim(-1, 0)
    fits = isinstance(pixels, Tensor) and pixels.ndim == 3 and pixels.shape[0] in (1, 3, 4)
    if not isinstance(pixels, Tensor) or not fits or pixels.dtype != torch.uint8 or 0 in pixels.shape:
        kind = getattr(picture, "dtype", type(picture).__name__)
        kinds = "a PIL picture, a uint8 array [H, W, 3] or a uint8 tensor [3, H, W]"
        raise UserError(f"a picture must be {kinds}, not {kind} {list(getattr(picture, 'shape', []))}")
    try:
        check_size(pixels.shape[2], pixels.shape[1])
    except ImageError as error:
        raise UserError(str(error)) from error
    if pixels.shape[0] == 4:
        layer = Image.fromarray(pixels.movedim(0, -1).contiguous().cpu().numpy(), "RGBA")
        return torch.from_numpy(np.array(on_white(layer))).permute(2, 0, 1).contiguous()
    return pixels.expand(3, -1, -1).contiguous()
