"""Tar shards in the WebDataset layout: where their records lie, and what is said before each member.

Nothing is extracted, and links and devices are ignored. Formats: ustar, GNU long names, pax (path and size).
"""

import mmap
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from xfm.core.errors import UserError
from xfm.data.images import PICTURE_SUFFIXES, RAW_SUFFIXES
from xfm.data.sources.base import StoredFile

BLOCK = 512
PICTURES = frozenset(suffix.removeprefix(".") for suffix in PICTURE_SUFFIXES - RAW_SUFFIXES)
PICTURE, JSON, TEXT = range(3)
"""Columns of a record."""
_NOTES = (b"L", b"K", b"x", b"g")
_MAX_NOTE = 1 << 20  # bytes of a long name or of pax fields; real ones have some hundred
_SIZE_BITS = 48
_SIZES = (1 << _SIZE_BITS) - 1
_MOST_BLOCKS = (1 << 63 - _SIZE_BITS) - 1
_REGULAR = (b"0", b"\0", b"7")
_COLUMN = {**dict.fromkeys(PICTURES, PICTURE), "json": JSON, "txt": TEXT}
TarMember = tuple[str, int, int, int]
"""A regular file in a tar: name, where its bytes lie, how many, and bytes of headers before them."""


def scan_members(file: StoredFile) -> Iterator[TarMember]:
    """The regular files of a tar in order; raises UserError when it is truncated or not a tar."""
    if file.size < BLOCK:
        raise _truncated(file.path, file.size)
    with file.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from members_of(file.path, lambda place, size: data[place : place + size], file.size)


def members_of(path: Path | str, read: Callable[[int, int], bytes], end: int) -> Iterator[TarMember]:
    """The regular files of a tar of `end` bytes; `read` gives so many at an offset. Raises UserError."""
    place = first = 0
    long_name: str | None = None
    pax: dict[str, str] = {}
    while True:
        header = read(place, BLOCK)
        if len(header) < BLOCK:
            raise _truncated(path, place)
        if not any(header):
            return
        size, kind, start = _size(header, pax), header[156:157], place + BLOCK
        if size is None or (kind in _NOTES and size > _MAX_NOTE):
            raise _no_header(path, place)
        if start + size > end:
            raise _truncated(path, start)
        if kind == b"L":
            long_name = read(start, size).rstrip(b"\0").decode("utf-8", "replace")
        elif kind == b"x":
            try:
                pax = _pax(read(start, size))
            except ValueError:
                raise _no_header(path, place) from None
        elif kind not in _NOTES:
            if kind in _REGULAR:
                yield long_name or pax.get("path") or _name(header), start, size, start - first
            long_name, pax = None, {}
        place = start + -(-size // BLOCK) * BLOCK
        first = first if kind in _NOTES else place


def _no_header(path: Path | str, place: int) -> UserError:
    return UserError(f"{path}: not a tar header at byte {place}; download or prepare the shard again.")


def _truncated(path: Path | str, place: int) -> UserError:
    told = f"it ends after byte {place} without the end of the archive"
    return UserError(f"{path}: the shard is truncated ({told}); download or prepare it again.")


def _size(header: bytes, pax: dict[str, str]) -> int | None:
    try:
        if _number(header[148:156]) != sum(header) - sum(header[148:156]) + 8 * 32:
            return None
        size = int(pax["size"]) if "size" in pax else _number(header[124:136])
    except ValueError:
        return None
    return size if size >= 0 else None


def _number(field: bytes) -> int:
    if field[0] & 0x80:  # base 256, for sizes of 8 GiB and more
        return int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
    return int(field.rstrip(b"\0 ").strip() or b"0", 8)


def _name(header: bytes) -> str:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return (prefix + b"/" + name if prefix else name).decode("utf-8", "replace")


def _pax(data: bytes) -> dict[str, str]:
    """The fields of a pax header, `LENGTH KEY=VALUE` and a line break each; raises ValueError."""
    data, found, place = data.rstrip(b"\0"), {}, 0
    while place < len(data):
        space = data.index(b" ", place)
        end = place + int(data[place:space])
        if not space < end <= len(data):
            raise ValueError("a length is wrong")
        key, _, value = data[space + 1 : end - 1].partition(b"=")
        found[key.decode("utf-8", "replace")] = value.decode("utf-8", "replace")
        place = end
    return found


def key_and_extension(name: str) -> tuple[str, str]:
    """Key and extension of a member, cut at the first dot of its base name. `pathlib` takes 7 x longer."""
    *folders, base = [part for part in name.split("/") if part not in ("", ".")] or [""]
    stem, _, extension = base.partition(".")
    return "/" * name.startswith("/") + "/".join([*folders, stem]), extension.lower()


def spans_of(path: Path | str, members: Iterable[TarMember]) -> np.ndarray:
    """[N, 3, 2] int64: of the image, JSON and text of each record the offset (0 where there is none), and its
    size with the number of header blocks before it, see `unpacked`. UserError where a key has two
    members of a kind."""
    last: str | None = None
    rows: list[list[int]] = []
    for name, offset, size, lead in members:
        key, extension = key_and_extension(name)
        column = _COLUMN.get(extension)
        if column is None:
            continue
        if key != last:
            last = key
            rows.append([0] * 6)
        if rows[-1][2 * column]:
            raise UserError(f"{path}: key {key} has two members of a kind; give each record its own key.")
        blocks = lead // BLOCK
        if blocks > _MOST_BLOCKS or size > _SIZES:
            raise _no_header(path, offset - lead)
        rows[-1][2 * column : 2 * column + 2] = [offset, size | blocks << _SIZE_BITS]
    return np.array(rows, dtype=np.int64).reshape(-1, 3, 2)


def text_rows(spans: np.ndarray) -> np.ndarray:
    """[T] rows of [N, 3, 2] spans with a JSON or a text: pictures that have none beside them are no texts."""
    return np.flatnonzero(spans[:, (JSON, TEXT), 0].any(1))


def unpacked(span: Sequence[int]) -> tuple[int, int, int]:
    """Offset (0 for none) and size of a member, and how many bytes of headers stand before it."""
    offset, packed = span
    return offset, packed & _SIZES, (packed >> _SIZE_BITS) * BLOCK


def stored_key(before: bytes, size: int, column: int) -> str | None:
    """The key of a member of `size` bytes in a column (`PICTURE`, `JSON` or `TEXT`) from the headers before
    it; None where these bytes are not the headers of such a member."""
    try:
        found = next(members_of("", lambda at, many: before[at : at + many], len(before) + size), None)
    except UserError:
        return None
    if found is None or found[1:3] != (len(before), size):
        return None
    key, extension = key_and_extension(found[0])
    return key if _COLUMN.get(extension) == column else None
