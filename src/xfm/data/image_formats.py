"""Image formats by their bytes, and headers read before anything is decoded. The reader of the one format is
used: another may see another size."""

import io
import json
import re
import struct
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import islice

import numpy as np
from PIL import Image
from PIL.AvifImagePlugin import AvifImageFile
from PIL.BmpImagePlugin import BmpImageFile
from PIL.GifImagePlugin import GifImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile
from PIL.WebPImagePlugin import WebPImageFile

from xfm.core.errors import UserError, first_line
from xfm.core.sandbox import parsed
from xfm.data.image_pieces import gif_blocks, jpeg_segments, png_chunks, webp_exif

_OWN = (struct.error, zlib.error, EOFError, Image.DecompressionBombError)
BROKEN = (*_OWN, OSError, SyntaxError, ValueError, LookupError, OverflowError, TypeError, RuntimeError)
"""What Pillow and its plugins raise for damaged files."""


class ImageError(Exception):
    """A picture that cannot be used; the message says why."""


class ImageFormat(StrEnum):
    """A format that is read; the value is the suffix of its files."""

    JPEG = ".jpg"
    PNG = ".png"
    WEBP = ".webp"
    GIF = ".gif"
    BMP = ".bmp"
    TIFF = ".tif"
    HEIC = ".heic"
    AVIF = ".avif"


KNOWN = "JPEG, PNG, WebP, GIF, BMP, TIFF, HEIC or AVIF"
_BEGINNINGS = {
    b"\xff\xd8\xff": ImageFormat.JPEG,
    b"\x89PNG\r\n\x1a\n": ImageFormat.PNG,
    **dict.fromkeys((b"GIF87a", b"GIF89a"), ImageFormat.GIF),
    **dict.fromkeys((b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"), ImageFormat.TIFF),
}
_exif_blocks = re.compile(rb"Exif\0\0").finditer
_PIECES: dict[ImageFormat, tuple[tuple[Callable[[bytes], Iterator[object]], int, str], ...]] = {
    ImageFormat.PNG: ((png_chunks, 100_000, "chunks"),),  # honest ones have thousands, of 8 KiB each
    ImageFormat.GIF: ((gif_blocks, 10_000, "blocks before its picture"),),  # of 255 bytes at most
    ImageFormat.JPEG: ((jpeg_segments, 20_000, "segments"), (_exif_blocks, 100, "blocks of EXIF")),
}
"""Pieces of files, and more of them than any honest one has."""
_BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)  # their lengths, which tell the format from a text with BM
_HEIC_BRANDS = {b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis", b"hevm", b"hevs", b"mif1", b"msf1"}
_ORIENTATION, _SHORT = 0x0112, 3  # a tag of EXIF, and the type of its value
_AVIF_BRANDS = {b"avif", b"avis"}
_OTHERS = {
    b"version https://git-lfs": "a pointer of Git LFS (fetch the file with git lfs pull)",
    b"%pdf": "a PDF",
    b"pk\x03\x04": "a zip archive",
    b"<svg": "an SVG drawing",
    **dict.fromkeys((b"<html", b"<!doctype"), "a web page"),
}
"""What people have instead of a picture, by what stands near its beginning, in small letters."""


def format_of(data: bytes) -> ImageFormat | None:
    """The format of a file of these bytes; None for one that is not read."""
    for start, found in _BEGINNINGS.items():
        if data.startswith(start):
            return found
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ImageFormat.WEBP
    if data[:2] == b"BM" and int.from_bytes(data[14:18], "little") in _BMP_HEADERS:
        return ImageFormat.BMP
    if data[4:8] == b"ftyp":
        end = min(int.from_bytes(data[:4], "big"), 1024)
        brands = {data[8:12], *(data[place : place + 4] for place in range(16, end, 4))}
        if brands & _AVIF_BRANDS:
            return ImageFormat.AVIF
        return ImageFormat.HEIC if brands & _HEIC_BRANDS else None
    return None


@dataclass(frozen=True)
class Header:
    """Upright width and height in pixels, EXIF orientation 1 to 8, Pillow's mode (may be empty)."""

    format: ImageFormat
    width: int
    height: int
    orientation: int = 1
    mode: str = ""
    animated: bool = False


def read_image_header(data: bytes) -> Header:
    """The header of an image; raises ImageError for a format that is not read or a broken header."""
    if (found := format_of(data)) is None:
        if not data:
            raise ImageError("the picture is an empty file (0 bytes)")
        beginning = data[:1024].lower()
        text = "a text" if beginning.isascii() and b"\0" not in beginning else ""
        looks = next((name for mark, name in _OTHERS.items() if mark in beginning), text)
        raise ImageError(f"the picture is not a {KNOWN}{looks and f', but looks like {looks}'}")
    for pieces, most, name in _PIECES.get(found, ()):
        if next(islice(pieces(data), most, None), None) is not None:
            raise ImageError(f"the picture's header is broken (it has more than {most:,} {name})")
    try:
        if found is ImageFormat.WEBP:
            return _webp_header(data)
        if found is ImageFormat.TIFF:
            [told] = parse_tiff("tiff_header", data)  # all of it, so that the process goes on to the next
            width, height, mode = json.loads(told)
            return Header(found, width, height, mode=mode)
        with open_with_pillow(data, found) as picture:
            exif = picture.info.get("exif")
            if found is ImageFormat.PNG:
                exif = next((body for name, body in png_chunks(data) if name == b"eXIf"), None)
            elif found is ImageFormat.HEIC:  # it is turned by the decoder, and its EXIF only repeats that
                exif = None
            orientation = orientation_of(exif)
            width, height = picture.size[::-1] if orientation >= 5 else picture.size  # upright
            return Header(found, width, height, orientation, picture.mode)
    except BROKEN as error:
        raise ImageError(f"the picture's header is broken ({first_line(error)})") from None


def open_with_pillow(data: bytes, found: ImageFormat) -> ImageFile:
    """An image of which the reader of its format has read the header; may raise ImageError."""
    file = io.BytesIO(data)
    if found is ImageFormat.HEIC:
        try:
            from pillow_heif import HeifImageFile
        except ImportError:
            needs = "the picture is a HEIC, for which pillow-heif is not installed: pip install 'xfm[heif]'"
            raise ImageError(needs) from None
        return HeifImageFile(file)
    return _OPENERS[found](file)


_OPENERS: dict[ImageFormat, type[ImageFile]] = {
    ImageFormat.JPEG: JpegImageFile,
    ImageFormat.PNG: PngImageFile,
    ImageFormat.WEBP: WebPImageFile,
    ImageFormat.GIF: GifImageFile,
    ImageFormat.BMP: BmpImageFile,
    ImageFormat.AVIF: AvifImageFile,
}


def _webp_header(data: bytes) -> Header:
    # Pillow takes memory for the canvas to tell the size. The three layouts leave the decoder no other
    # reading: it refuses an extended file whose canvas is not the picture's.
    chunk = data[12:16]
    if chunk == b"VP8 ":
        width, height = struct.unpack_from("<HH", data, 26)
        return Header(ImageFormat.WEBP, width & 0x3FFF, height & 0x3FFF, mode="RGB")
    if chunk == b"VP8L":
        (bits,) = struct.unpack_from("<I", data, 21)
        mode = "RGBA" if bits >> 28 & 1 else "RGB"
        return Header(ImageFormat.WEBP, (bits & 0x3FFF) + 1, ((bits >> 14) & 0x3FFF) + 1, mode=mode)
    if chunk == b"VP8X":
        flags = data[20]
        width = int.from_bytes(data[24:27], "little") + 1
        height = int.from_bytes(data[27:30], "little") + 1
        orientation = orientation_of(webp_exif(data))
        mode, animated = ("RGBA" if flags & 0x10 else "RGB"), bool(flags & 0x02)
        size = (height, width) if orientation >= 5 else (width, height)  # upright
        return Header(ImageFormat.WEBP, *size, orientation, mode, animated)
    raise ImageError("the picture's header is broken (it begins with an unknown chunk)")


def parse_tiff(parser: str, data: bytes) -> Iterator[bytes]:
    """What a parser of `xfm.data.parsers` gives back: a few bytes of a TIFF can ask Pillow for gigabytes."""
    try:
        yield from parsed(f"xfm.data.parsers:{parser}", b64encode(data).decode())
    except UserError as error:
        raise ImageError(str(error)) from None


def orientation_of(exif: bytes | None) -> int:
    """How a stored image is to be turned, 1 (not at all) to 8, by a block of EXIF. Pillow would keep every
    value of it, and values may overlap: some kilobytes can claim gigabytes."""
    data = exif.removeprefix(b"Exif\0\0") if exif else b""
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    if order is None:
        return 1
    try:
        (place,) = struct.unpack_from(f"{order}I", data, 4)
        for entry in range(struct.unpack_from(f"{order}H", data, place)[0]):
            tag, kind, short = struct.unpack_from(f"{order}HH4xH", data, place + 2 + 12 * entry)
            if tag == _ORIENTATION:
                return short if kind == _SHORT and 1 <= short <= 8 else 1
    except struct.error:  # it is cut
        pass
    return 1


AT_ONCE = 1 << 20
"""Pixels that Pillow converts at a time: of a large picture each further copy is hundreds of megabytes."""


def rgb_strips(picture: Image.Image) -> Iterator[np.ndarray]:
    """[rows, W, 3] uint8 of a loaded Pillow image, not turned: what is transparent shows white, 16 bits are
    scaled to 8. ImageError where its numbers have no known range, BROKEN where it does not decode."""
    if picture.mode == "F":
        raise ImageError("the picture holds fractions, of which nobody says what is white; scale it")
    if picture.mode.startswith("I"):  # which convert() would clip
        values = np.array(picture, dtype=np.int32)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ImageError("the picture holds numbers of more than 16 bits; scale it to 8 bits")
        clear = picture.info.get("transparency")
        grey = (values >> 8).astype(np.uint8)
        if isinstance(clear, int):
            grey[values == clear] = 255
        yield np.repeat(grey[..., None], 3, 2)
        return
    width, height = picture.size
    rows = max(1, AT_ONCE // width)
    for top in range(0, height, rows):
        strip = picture if rows >= height else picture.crop((0, top, width, min(top + rows, height)))
        if strip.has_transparency_data:
            strip = on_white(strip)
        yield np.array(strip if strip.mode == "RGB" else strip.convert("RGB"))


def on_white(picture: Image.Image) -> Image.Image:
    """A picture with transparency over white; what is opaque keeps its colour exactly."""
    if picture.mode in ("La", "RGBa"):
        picture = picture.convert(picture.mode.upper())
    layer = picture.convert("RGBA")
    page = Image.new("RGB", layer.size, "white")
    page.paste(layer, mask=layer)
    return page
