"""Whether picture files look whole, by their first and their last bytes.

Helper processes run this file alone, so that it imports nothing but the standard library and they are there
at once. It is sure of a JPEG, PNG or WebP that begins and ends as it should; what it is not sure of, somebody
else decodes.
"""

import os
import pickle
import signal
import stat
import sys
from array import array
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import BinaryIO, NamedTuple

HEAD, TAIL = 16 << 10, 1 << 10
_SEGMENTS = 500  # of a JPEG before its size; honest ones have a dozen
_PLAIN_SEGMENTS = frozenset((0xC4, 0xDB, 0xDD, 0xFE, *range(0xE0, 0xF0)))
_FRAMES = (0xC0, 0xC1, 0xC2)
_PROGRESSIVE = 0xC2
_SMALLEST_SCAN = 64  # bytes; each may work on all pixels again
_MOST_WORK = 200  # times the limit of pixels
_LONGEST = 65_535
_PNG, _PNG_END = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\0\0\0\0IEND\xaeB`\x82"

Job = tuple[bytes, bytes, bytes, bytes, int, int]
"""Folder, names parted by NUL, known sizes and times (int64), limits of pixels and of bytes."""
Seen = tuple[bytes, bytes, list[int]]
"""Sizes and times of change in ns (int64, -1 of what is no file), and the places of which it is not sure."""


def glance(job: Job) -> Seen:
    """Look at some files of a folder; what has the size and time that are known is not opened."""
    folder, blob, known_sizes, known_times, pixels, most = job
    names, sizes, times, unsure = blob.split(b"\0"), array("q"), array("q"), list[int]()
    known = zip(names, array("q", known_sizes), array("q", known_times), strict=True)
    with _opened(folder) as where:
        for place, (name, before, since) in enumerate(known):
            size = changed = -1
            try:
                status = os.stat(where.prefix + name, dir_fd=where.handle)
                if stat.S_ISREG(status.st_mode):
                    size, changed = status.st_size, status.st_mtime_ns
                    if (changed != since or size != before) and not (
                        size <= most and _looks_whole(where, name, size, pixels)
                    ):
                        unsure.append(place)
                else:
                    unsure.append(place)
            except (OSError, ValueError):
                unsure.append(place)
            sizes.append(size)
            times.append(changed)
    return sizes.tobytes(), times.tobytes(), unsure


class _Where(NamedTuple):
    """A folder: open, so that the system does not walk its path anew for each file, or the path itself."""

    handle: int | None
    prefix: bytes


@contextmanager
def _opened(folder: bytes) -> Iterator[_Where]:
    handle = None
    if {os.stat, os.open} <= os.supports_dir_fd:
        with suppress(OSError):
            handle = os.open(folder, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | os.O_DIRECTORY)
    try:
        yield _Where(handle, folder + b"/" if handle is None else b"")
    finally:
        if handle is not None:
            os.close(handle)


def _looks_whole(where: _Where, name: bytes, size: int, limit: int) -> bool:
    flags = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_NONBLOCK", 0)
    handle = os.open(where.prefix + name, flags, dir_fd=where.handle)
    try:
        head = os.pread(handle, HEAD, 0)
        tail = head[-TAIL:] if size <= HEAD else os.pread(handle, TAIL, size - TAIL)
        if head[:3] == b"\xff\xd8\xff":
            return b"\xff\xd9" in tail and _jpeg(handle, head, size, limit)
        if head[:16] == _PNG:
            width, height = int.from_bytes(head[16:20], "big"), int.from_bytes(head[20:24], "big")
            return tail.endswith(_PNG_END) and _fits(width, height, limit)
        if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
            return int.from_bytes(head[4:8], "little") + 8 <= size and _webp(head, limit)
        return False
    finally:
        os.close(handle)


def _fits(width: int, height: int, limit: int) -> bool:
    return 0 < width <= _LONGEST and 0 < height <= _LONGEST and width * height <= limit


def _jpeg(handle: int, head: bytes, size: int, limit: int) -> bool:
    place = 2
    for _ in range(_SEGMENTS):
        piece = head[place : place + 9]
        if len(piece) < 9:
            piece = os.pread(handle, 9, place)
        if len(piece) < 9 or piece[0] != 0xFF:
            return False
        if piece[1] in _FRAMES:
            height, width = piece[5] << 8 | piece[6], piece[7] << 8 | piece[8]
            scans = size // _SMALLEST_SCAN if piece[1] == _PROGRESSIVE else 1
            return _fits(width, height, limit) and width * height * scans <= _MOST_WORK * limit
        if piece[1] not in _PLAIN_SEGMENTS:
            return False
        place += 2 + max(2, piece[2] << 8 | piece[3])
    return False


def _webp(head: bytes, limit: int) -> bool:
    kind = head[12:16]
    if len(head) < 30:
        return False
    if kind == b"VP8 ":
        both = int.from_bytes(head[26:30], "little")
        return _fits(both & 0x3FFF, both >> 16 & 0x3FFF, limit)
    if kind == b"VP8L":
        both = int.from_bytes(head[21:25], "little")
        return _fits((both & 0x3FFF) + 1, (both >> 14 & 0x3FFF) + 1, limit)
    if kind == b"VP8X":
        width, height = int.from_bytes(head[24:27], "little"), int.from_bytes(head[27:30], "little")
        return _fits(width + 1, height + 1, limit)
    return False


def serve(source: BinaryIO, target: BinaryIO) -> None:
    """Answer jobs until there are no more: what the parent writes, and nobody else."""
    while True:
        try:
            job: Job = pickle.load(source)
        except EOFError:
            return
        pickle.dump(glance(job), target)
        target.flush()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent closes the pipe, in one voice
    serve(sys.stdin.buffer, sys.stdout.buffer)
