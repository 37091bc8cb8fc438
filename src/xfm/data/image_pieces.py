"""Chunks, blocks and segments of image files, found as Pillow finds them: one by one, copying some for each
that follows, so that a few megabytes of the smallest took hours."""

import struct
from collections.abc import Iterator
from itertools import islice

from PIL.JpegImagePlugin import MARKER

_FRAMES, _SCAN, _JFIF = (0xC0, 0xC1, 0xC2), 0xDA, 0xE0
_TABLES = (0xDB, 0xC4, 0xDD, 0xFE)  # and comments
_MODES = {1: "L", 3: "RGB"}
_FEW = 100  # segments: most JPEGs have some ten


def png_chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Names and bodies; Pillow tells of those behind the pixels only when these are decoded."""
    place = 8
    while place + 8 <= len(data):
        size = int.from_bytes(data[place : place + 4], "big")
        yield data[place + 4 : place + 8], data[place + 8 : place + 8 + size]
        place += 12 + size


def gif_blocks(data: bytes) -> Iterator[int]:
    """Where blocks before the first picture begin; a byte that belongs to none is one itself."""
    place = 13 + (3 << (data[10] % 8 + 1) if len(data) > 10 and data[10] & 0x80 else 0)
    while place < len(data) and data[place] not in b",;":
        yield place
        if data[place] != ord("!"):
            place += 1
            continue
        place += 2
        while place < len(data) and data[place]:
            place += 1 + data[place]
            yield place
        place += 1


def jpeg_segments(data: bytes) -> Iterator[int]:
    """Where segments before the pixels begin, and padding, of which every byte or two is one."""
    place = 2
    while place + 1 < len(data):
        yield place
        code = data[place + 1]
        marker = MARKER.get(0xFF00 | code)
        if code == 0xFF:
            place += 1
        elif code == 0 or (marker is not None and marker[2] is None):  # without a body
            place += 2
        elif marker is None or marker[0] == "SOS":  # Pillow gives up, or pixels follow
            return
        else:
            place += 2 + max(2, int.from_bytes(data[place + 2 : place + 4], "big"))


def plain_jpeg(data: bytes) -> tuple[int, int, str] | None:
    """Width, height and Pillow's mode of a JPEG of which every reader sees the same; None of any other.
    Before its pixels it has one frame, of 8 bits, and a few tables, comments and JFIF marks, each right
    behind the other: nothing that one reader passes over and another takes for a size or an orientation."""
    frame = None
    for place in islice(jpeg_segments(data), _FEW):
        if data[place] != 0xFF:
            return None
        code, size = data[place + 1], int.from_bytes(data[place + 2 : place + 4], "big")
        body = data[place + 4 : place + 2 + size]
        if code == _SCAN:
            return frame
        if code in _FRAMES and frame is None and len(body) >= 6:
            bits, height, width, layers = struct.unpack_from(">BHHB", body)
            if bits != 8 or layers not in _MODES or size != 8 + 3 * layers:
                return None
            frame = width, height, _MODES[layers]
        elif code not in _TABLES and not (code == _JFIF and len(body) >= 12):
            return None
    return None


def webp_exif(data: bytes) -> bytes | None:
    """The block of EXIF of a WebP."""
    place = 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if data[place : place + 4] == b"EXIF":
            return data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return None
