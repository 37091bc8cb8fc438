"""The orientation that cameras note in EXIF, and directories of TIFF files that are safe to hand on.

Pillow's reader keeps every value of a directory, and values may overlap in the file: some kilobytes of them
can claim gigabytes. Here entries are looked at one by one, and their values only where they are needed.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

ORIENTATION = 0x0112
WIDTH, HEIGHT = 0x0100, 0x0101
TILE_WIDTH, TILE_HEIGHT = 0x0142, 0x0143
DNG_VERSION = 0xC612
_DIRECTORIES = (0x8769, 0x8825, 0xA005)  # EXIF, GPS and interoperability, which Pillow reads as well
_KINDS = {1: (1, 2, 6, 7), 2: (3, 8), 4: (4, 9, 11, 13), 8: (5, 10, 12, 16, 17, 18)}
_BYTES = {kind: size for size, kinds in _KINDS.items() for kind in kinds}
_TEXTS = (1, 2, 6, 7)  # types whose values are taken as they lie, not as a number each
_NUMBERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q"}
_MOST_NUMBERS = 1 << 17  # of an entry: the longest list is that of tiles, and a million take half a minute


@dataclass(frozen=True)
class ExifEntry:
    """An entry of a directory.

    Attributes:
        tag: what it says.
        kind: type of its values.
        count: how many values.
        number: the first value where it is a whole number that stands in the entry itself, else None.
    """

    tag: int
    kind: int
    count: int
    number: int | None

    @property
    def size(self) -> int:
        """Bytes of the values."""
        return self.count * _BYTES.get(self.kind, 0)


def directory(data: bytes, start: int | None = None) -> Iterator[ExifEntry]:
    """The entries of a directory of TIFF or EXIF; a broken one ends early.

    Args:
        data: a TIFF file, or what follows the name in a block of EXIF.
        start: where it begins; the first directory if None.
    """
    order = {b"II": "<", b"MM": ">"}.get(data[:2])
    try:
        version = struct.unpack_from(f"{order}H", data, 2)[0] if order else 0
        if version not in (42, 43):
            return
        first, counts, entry = ("I", "H", "HHI") if version == 42 else ("Q", "Q", "HHQ")
        room = struct.calcsize(f"{order}{first}")
        place = struct.unpack_from(f"{order}{first}", data, 4 if version == 42 else 8)[0]
        place = place if start is None else start
        (entries,) = struct.unpack_from(f"{order}{counts}", data, place)
        place += struct.calcsize(f"{order}{counts}")
        for _ in range(min(entries, len(data))):
            tag, kind, count = struct.unpack_from(f"{order}{entry}", data, place)
            place += struct.calcsize(f"{order}{entry}")
            inside = kind in _NUMBERS and count and count * _BYTES[kind] <= room
            number = struct.unpack_from(f"{order}{_NUMBERS[kind]}", data, place)[0] if inside else None
            place += room
            yield ExifEntry(tag, kind, count, number)
    except (struct.error, OverflowError):
        return


def orientation_of(exif: bytes | None) -> int:
    """How a stored picture is to be turned, 1 (not at all) to 8, of a block of EXIF or a TIFF file."""
    data = exif.removeprefix(b"Exif\0\0") if exif else b""
    found = next((entry.number for entry in directory(data) if entry.tag == ORIENTATION), None)
    return found if found is not None and 1 <= found <= 8 else 1


def numbers_of(data: bytes) -> dict[int, int]:
    """The whole numbers that stand in the first directory itself, by tag."""
    return {e.tag: e.number for e in reversed([*directory(data)]) if e.number is not None}


def claims_too_much(data: bytes) -> bool:
    """Whether reading the directories of a TIFF file could take many times its size."""
    waiting: list[int | None] = [None]
    total, seen = 0, 0
    while waiting:
        for entry in directory(data, waiting.pop()):
            total += entry.size
            seen += 1
            if total > len(data) or seen > _MOST_NUMBERS:
                return True
            if entry.kind not in _TEXTS and entry.count > _MOST_NUMBERS:
                return True
            if entry.tag in _DIRECTORIES and entry.number is not None:
                waiting.append(entry.number)
    return False
