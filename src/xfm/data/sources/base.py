"""What every source can do, and how files are opened lazily and read in pieces."""

import os
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Protocol

from xfm.data.records import Limits, Record, Sample, SampleKind, to_sample


class Source(Protocol):
    """Records with random access by index; safe to use after a fork and to pickle."""

    @property
    def kind(self) -> SampleKind:
        """What `read` yields."""
        ...

    @property
    def limits(self) -> Limits:
        """Largest record that is read."""
        ...

    def __len__(self) -> int: ...

    def record(self, index: int) -> Record:
        """The record as it lies on disk; raises BadRecordError."""
        ...

    def read(self, index: int) -> Sample:
        """The record decoded and checked; raises BadRecordError."""
        ...


class RecordSource:
    """Base of the sources: `read` is `record`, decoded."""

    def __init__(self, kind: SampleKind, limits: Limits) -> None:
        self.kind = kind
        self.limits = limits

    def __len__(self) -> int:
        raise NotImplementedError

    def record(self, index: int) -> Record:
        """The record as it lies on disk; raises BadRecordError."""
        raise NotImplementedError

    def read(self, index: int) -> Sample:
        """The record decoded and checked; raises BadRecordError."""
        return to_sample(self.record(index), self.kind, self.limits)


class ConcatSource(RecordSource):
    """Several sources of one kind, one after the other."""

    def __init__(self, parts: Sequence[Source]) -> None:
        super().__init__(parts[0].kind, parts[0].limits)
        self._parts = list(parts)
        self._ends = list(accumulate(len(part) for part in parts))

    def __len__(self) -> int:
        return self._ends[-1]

    def record(self, index: int) -> Record:
        """The record at `index` of the concatenation."""
        part = bisect_right(self._ends, index)
        return self._parts[part].record(index - (self._ends[part - 1] if part else 0))


class FilePool:
    """Descriptors of files that are read with `os.pread`, opened when first used.

    pread does not move a shared position, so descriptors that a forked process inherits stay usable. At most
    `limit` are open; a pickled pool starts empty.
    """

    def __init__(self, limit: int = 128) -> None:
        self._limit = limit
        self._open: OrderedDict[Path, int] = OrderedDict()

    def read(self, path: Path, offset: int, size: int) -> bytes:
        """Up to `size` bytes at `offset`; fewer at the end of the file."""
        descriptor = self._open.get(path)
        if descriptor is None:
            descriptor = os.open(path, os.O_RDONLY | getattr(os, "O_CLOEXEC", 0))
            self._open[path] = descriptor
            if len(self._open) > self._limit:
                os.close(self._open.popitem(last=False)[1])
        else:
            self._open.move_to_end(path)
        pieces = []
        while size > 0:
            piece = os.pread(descriptor, size, offset)
            if not piece:
                break
            pieces.append(piece)
            offset += len(piece)
            size -= len(piece)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        """Close every descriptor."""
        while self._open:
            os.close(self._open.popitem()[1])

    def __del__(self) -> None:
        self.close()

    def __getstate__(self) -> int:
        return self._limit

    def __setstate__(self, state: int) -> None:
        self.__init__(state)


FILES = FilePool()
"""The descriptors of this process, shared by all sources."""
