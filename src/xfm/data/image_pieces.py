"""Chunks, blocks and segments of image files, found as Pillow finds them: one by one, copying some for each
that follows, so that a few megabytes of the smallest took hours."""

from collections.abc import Iterator

from PIL.JpegImagePlugin import MARKER


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


def webp_exif(data: bytes) -> bytes | None:
    """The block of EXIF of a WebP."""
    place = 12
    while place + 8 <= len(data):
        size = int.from_bytes(data[place + 4 : place + 8], "little")
        if data[place : place + 4] == b"EXIF":
            return data[place + 8 : place + 8 + size]
        place += 8 + size + size % 2
    return None
