"""Tar shards in the WebDataset layout, with random access.

Headers are scanned once when the shard is opened; members are then read at their offsets. Nothing is
extracted, and links and devices are ignored. Formats: ustar, GNU long names, pax (path and size).
"""

import mmap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath

import numpy as np

from xfm.data.pictures import PICTURE_SUFFIXES, too_many_bytes
from xfm.data.records import BadRecordError, Limits, Record, SampleKind, parse_annotation
from xfm.data.schema import Origin
from xfm.data.sources.base import FILES, RecordSource, StoredFile
from xfm.errors import UserError

BLOCK = 512
PICTURES = frozenset(suffix.removeprefix(".") for suffix in PICTURE_SUFFIXES)
_PICTURE, _JSON, _TEXT = range(3)
_NOTES = (b"L", b"K", b"x", b"g")
_MAX_NOTE = 1 << 20  # bytes of a long name or of pax fields; real ones have some hundred
_COLUMN = {**dict.fromkeys(PICTURES, _PICTURE), "json": _JSON, "txt": _TEXT}


@dataclass(frozen=True)
class Member:
    """A regular file in a tar: its name, and where its bytes lie."""

    name: str
    offset: int
    size: int


def scan_members(file: StoredFile) -> Iterator[Member]:
    """The regular files of a tar in order.

    Raises:
        UserError: when it is truncated or not a tar.
    """
    if file.size < BLOCK:
        raise _truncated(file.path, file.size)
    with file.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from _scan(file.path, data, file.size)


def _scan(path: Path, data: mmap.mmap, end: int) -> Iterator[Member]:
    place = 0
    long_name: str | None = None
    pax: dict[str, str] = {}
    while True:
        header = data[place : place + BLOCK]
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
            long_name = data[start : start + size].rstrip(b"\0").decode("utf-8", "replace")
        elif kind == b"x":
            try:
                pax = _pax(data[start : start + size])
            except ValueError:
                raise _no_header(path, place) from None
        elif kind not in _NOTES:
            if kind in (b"0", b"\0", b"7"):
                yield Member(long_name or pax.get("path") or _name(header), start, size)
            long_name, pax = None, {}
        place = start + -(-size // BLOCK) * BLOCK


def _no_header(path: Path, place: int) -> UserError:
    return UserError(f"{path}: not a tar header at byte {place}; download or prepare the shard again.")


def _truncated(path: Path, place: int) -> UserError:
    return UserError(
        f"{path}: the shard is truncated (it ends after byte {place} without the end of the archive); "
        "download or prepare it again."
    )


def _size(header: bytes, pax: dict[str, str]) -> int | None:
    """Size of the member, or None when the block is not a header."""
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
    """The fields of a pax header: `LENGTH KEY=VALUE` and a line break each, padded with zeros.

    Raises:
        ValueError: for anything else.
    """
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
    """Key and extension of a member: the base name is cut at its first dot, as WebDataset does."""
    folder, base = str(PurePosixPath(name).parent), PurePosixPath(name).name
    stem, _, extension = base.partition(".")
    return (stem if folder == "." else f"{folder}/{stem}"), extension.lower()


class TarSource(RecordSource):
    """One tar shard.

    Raises:
        UserError: when the shard is missing, truncated, not a tar, or holds nothing of the kind.
    """

    def __init__(self, path: Path, kind: SampleKind, limits: Limits) -> None:
        super().__init__(kind, limits)
        self.path = path
        try:
            self._file = StoredFile.of(path)
            self._index = index_shard(self._file)
        except OSError as error:
            raise UserError(f"{path}: cannot read the shard ({error.strerror}); check the path.") from error
        # For text, pictures that have none beside them are no records.
        wanted = (_JSON, _TEXT) if kind is SampleKind.TEXT else (_PICTURE, _JSON, _TEXT)
        self._rows = np.flatnonzero(self._index.spans[:, wanted, 0].any(1))
        if not len(self._rows):
            raise UserError(f"{path}: the shard holds no {kind} records; check the path and the names in it.")

    def __len__(self) -> int:
        return len(self._rows)

    def record(self, index: int) -> Record:
        """The record at `index`; raises BadRecordError when a member is missing or too large."""
        row = int(self._rows[index])
        origin = Origin(str(self.path), self._index.key(row))
        if self.kind is SampleKind.TEXT:
            return Record(origin, None, self._annotation(row, origin, "text"))
        picture = self._member(row, _PICTURE, origin, self.limits.picture_bytes, "picture")
        if picture is None:
            raise BadRecordError(origin, "the picture is missing")
        annotation = {} if self.kind is SampleKind.IMAGE else self._annotation(row, origin, "caption")
        return Record(origin, picture, annotation)

    def _annotation(self, row: int, origin: Origin, text_field: str) -> dict:
        data = self._member(row, _JSON, origin, self.limits.annotation_bytes, "JSON")
        if data is not None:
            return parse_annotation(data, origin)
        data = self._member(row, _TEXT, origin, self.limits.annotation_bytes, "text")
        if data is None:
            raise BadRecordError(origin, "the JSON or text beside the picture is missing")
        try:
            return {text_field: data.decode("utf-8")}
        except UnicodeDecodeError:
            raise BadRecordError(origin, "the text is not UTF-8") from None

    def _member(self, row: int, column: int, origin: Origin, limit: int, name: str) -> bytes | None:
        offset, size = self._index.spans[row, column].tolist()
        if offset == 0:
            return None
        if size > limit:
            wrong = f"has {size} bytes, more than the limit of {limit}"
            raise BadRecordError(
                origin, f"the {name} {too_many_bytes(size, limit) if column == _PICTURE else wrong}"
            )
        try:
            return FILES.read(self._file, offset, size)
        except OSError as error:
            raise BadRecordError(origin, f"the shard cannot be read ({error.strerror})") from None


@dataclass(frozen=True)
class ShardIndex:
    """Where the records of a shard lie: one string and two arrays, which forked workers share uncopied.

    Attributes:
        keys: the keys, each followed by a line break.
        key_ends: [N] int64, end of each key in `keys`, line break included.
        spans: [N, 3, 2] int64, offset and size of the picture, the JSON and the text; offset 0 where there is
            none.
    """

    keys: str
    key_ends: np.ndarray
    spans: np.ndarray

    def key(self, row: int) -> str:
        """The key of a record."""
        start = int(self.key_ends[row - 1]) if row else 0
        return self.keys[start : int(self.key_ends[row]) - 1]


@lru_cache(maxsize=4096)
def index_shard(file: StoredFile) -> ShardIndex:
    """Index a shard; once for each version of it, whatever it is read as.

    Raises:
        UserError: when it is truncated, not a tar, or a key has two pictures, JSONs or texts.
    """
    keys: list[str] = []
    rows: list[list[int]] = []
    for member in scan_members(file):
        key, extension = key_and_extension(member.name)
        column = _COLUMN.get(extension)
        if column is None:
            continue
        if not keys or keys[-1] != key:
            keys.append(key)
            rows.append([0] * 6)
        if rows[-1][2 * column]:
            raise UserError(
                f"{file.path}: key {key} has two members of a kind; give each record its own key."
            )
        rows[-1][2 * column : 2 * column + 2] = [member.offset, member.size]
    ends = np.cumsum([len(key) + 1 for key in keys], dtype=np.int64)
    return ShardIndex("\n".join(keys), ends, np.array(rows, dtype=np.int64).reshape(-1, 3, 2))
