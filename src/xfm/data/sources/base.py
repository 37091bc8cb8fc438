"""What every source can do, and how files are opened lazily and read in pieces."""

import errno
import hashlib
import io
import math
import os
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, pairwise
from pathlib import Path

from xfm.core.errors import UserError
from xfm.core.files import read_at
from xfm.data.records import Record, Sample, SampleKind, to_sample


def stale(reason: str) -> OSError:
    """The error of a shard that is not the one that was indexed."""
    return OSError(errno.ESTALE, reason)


class RecordSource:
    """Records with random access by index, read as a `kind`; safe to use after a fork and to pickle."""

    distant = False  # whether records are worth being asked for side by side: they lie on other machines

    def __init__(self, kind: SampleKind) -> None:
        self.kind = kind

    def __len__(self) -> int:
        raise NotImplementedError

    def record(self, index: int) -> Record:
        """The record as it lies on disk; raises BadRecordError."""
        raise NotImplementedError

    def expect(self, first: int, stop: int) -> None:
        """Hear that the records `first` to `stop` - 1 will be read soon, most of them; nothing is raised."""

    def read(self, index: int) -> Sample:
        """The record decoded and checked; raises BadRecordError."""
        return to_sample(self.record(index), self.kind)


class ConcatSource(RecordSource):
    """Several sources of one kind, one after the other."""

    def __init__(self, parts: Sequence[RecordSource]) -> None:
        super().__init__(parts[0].kind)
        self._parts = list(parts)
        self.distant = any(part.distant for part in parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def record(self, index: int) -> Record:
        """The record at `index` of the concatenation."""
        part = bisect_right(self._ends, index)
        return self._parts[part].record(index - (self._ends[part - 1] if part else 0))

    def expect(self, first: int, stop: int) -> None:
        """See `RecordSource.expect`."""
        start = 0
        for part, end in zip(self._parts, self._ends, strict=True):
            if start < stop and first < end:
                part.expect(max(first, start) - start, min(stop, end) - start)
            start = end


@dataclass(frozen=True)
class StoredFile:
    """A file when it was indexed: inode, size and time tell later whether it changed."""

    path: Path
    inode: int
    size: int
    modified: int

    @classmethod
    def of(cls, path: Path, status: os.stat_result | None = None) -> "StoredFile":
        """The file as it is now, or as an opened one is; raises OSError when it does not exist."""
        status = status or path.stat()
        return cls(path, status.st_ino, status.st_size, status.st_mtime_ns)

    def read(self, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`; raises OSError when the file ends early or was changed."""
        stream, data = _opened(self), b""
        while len(data) < size:
            if not (piece := read_at(stream.fileno(), size - len(data), offset + len(data))):
                raise OSError(errno.EIO, "it ends early: it was cut after it had been opened")
            data = data + piece if data else piece
        return data

    def expect(self, offset: int, size: int) -> None:
        """Have the system read ahead what will be asked for; raises OSError as `read`."""
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(_opened(self).fileno(), offset, size, os.POSIX_FADV_WILLNEED)


_WHOLE = 4 << 20
_BLOCK, _BLOCKS = 4096, 64


def sampled_digest(file: StoredFile) -> bytes:
    """Eight bytes by which a file is known again wherever it lies: of all of it up to 4 MiB, of a larger one
    of 64 blocks from the first byte to the last. Raises OSError."""
    with file.path.open("rb", buffering=0) as stream:
        return digest_of_samples(file.size, lambda place, size: read_at(stream.fileno(), size, place))


def digest_of_samples(size: int, read: Callable[[int, int], bytes]) -> bytes:
    """The same of a file of so many bytes; `read` gives those at an offset, a number of them."""
    digest = hashlib.sha256()
    if size <= _WHOLE:
        digest.update(read(0, size))
    else:
        for block in range(_BLOCKS):
            digest.update(read((size - _BLOCK) * block // (_BLOCKS - 1), _BLOCK))
    return digest.digest()[:8]


class _Descriptor(io.FileIO):
    """Closed when no cache and no reader holds it any more, whatever other threads do."""

    def __del__(self) -> None:
        self.close()


@lru_cache(maxsize=128)
def _opened(file: StoredFile) -> _Descriptor:
    stream = _Descriptor(file.path)
    if StoredFile.of(file.path, os.fstat(stream.fileno())) != file:
        raise stale("it was changed after it had been opened")
    return stream


_NUMBERED = re.compile(r"^(.*?)(\d+)(\.[a-z]+)$")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST_NAMES = 10_000_000
"""Names that a text may stand for."""


def expanded(text: str, start: int = 0) -> list[str]:
    """The names of a text with ranges from `start` on, in order; raises UserError above ten million."""
    ranges = [(int(first), int(last)) for first, last in RANGE.findall(text, start)]
    if math.prod(max(0, last - first + 1) for first, last in ranges) > _MOST_NAMES:
        raise UserError(f"{text}: the ranges stand for more than {_MOST_NAMES:,} names; check their numbers")
    span = RANGE.search(text, start)
    if span is None:
        return [text]
    first, last = span.groups()
    names = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    return [name for n in names for name in expanded(text[: span.start()] + n + text[span.end() :], start)]


def check_numbers(place: str, files: Iterable[str]) -> None:
    """Refuse files whose numbers have a gap."""
    matches = [match for match in map(_NUMBERED.match, files) if match]
    for stem in {match.group(1) for match in matches}:
        found = sorted((int(match.group(2)), match.group(2)) for match in matches if match.group(1) == stem)
        for (low, before), (high, after) in pairwise(found):
            if high > low + 1:
                remedy = "download or prepare it again, or name the files that you want one by one"
                raise UserError(f"{place}: a file is missing between {stem}{before} and {after}; {remedy}.")
