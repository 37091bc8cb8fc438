"""Ranges of remote files: from memory, from blocks on the disk, or from the store; and read ahead."""

import contextlib
import hashlib
import logging
import os
import queue
import shutil
import threading
import zlib
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import CancelledError, Future
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from filelock import lock_descriptor

from xfm.config.data import RemoteConfig
from xfm.core.errors import UserError
from xfm.core.files import write_data
from xfm.core.locks import in_turn
from xfm.data.sources.stores import RemoteFile, asked

_SHARE = 32
"""A process looks whether there is too much whenever it has written one part in so many of the room."""
_SPARE = 1 << 30
"""Bytes of the disk that are left to others, such as checkpoints."""
BLOCK = 256 << 10
"""Bytes of a block: pictures of some 100 kB, with what lies beside them, come in one or two."""
PIECE = 8 << 20
"""Bytes that are asked for at once when a long stretch is read ahead."""
_MEMORY, _SHORT = 128, 8
"""Blocks in the memory of a process, and of a stretch that is read ahead into it alone."""
_THREADS, _WAITING = 4, 1 << 14
"""That read ahead, and stretches that may wait for them."""
_log = logging.getLogger(__name__)
_Span = tuple[RemoteFile, int, int]
"""A file, its first block, and the one behind the last."""


class DiskBlocks:
    """Disk cache of named blocks, `room` bytes and a thirty-second a process; the least used goes first."""

    def __init__(self, folder: Path, room: int) -> None:
        self._folder, self.room = folder, room
        self._said = False
        self._since = room  # bytes written since room was made last: look at what is there before the first

    def find(self, name: str) -> bytes | None:
        """A block; None where it is not there, or not as it was written."""
        if not self.room:
            return None
        path = self.path(name)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):  # another user's, or of a file system that is read only
            os.utime(path)
        body, check = data[:-4], data[-4:]
        return body if len(check) == 4 and zlib.crc32(body).to_bytes(4, "little") == check else None

    def keep(self, name: str, data: bytes) -> None:
        """Keep a block where there is room; a disk that is full or cannot be written is said once."""
        if not self.room:
            return
        path = self.path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._since += len(data) + 4
            if self._since > self.room // _SHARE:
                self._make_room()
            if shutil.disk_usage(self._folder).free < _SPARE + len(data):
                self._say(f"less than {_SPARE >> 30} GiB of the disk is free, which is left to others")
                return
            write_data(path, data + zlib.crc32(data).to_bytes(4, "little"), lasting=False)
        except OSError as error:
            self.room = 0
            self._say(error.strerror)

    def path(self, name: str) -> Path:
        """The file of a block."""
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:40]
        return self._folder / digest[:2] / f"{digest}.block"

    def _say(self, why: str | None) -> None:
        if not self._said:
            _log.warning("%s: nothing more is kept there (%s)", self._folder, why)
        self._said = True

    def _make_room(self) -> None:
        """Remove what was used or left longest ago, unless another process does."""
        with (self._folder / ".lock").open("a") as lock, contextlib.suppress(OSError):
            if not lock_descriptor(lock.fileno(), blocking=False):
                return
            found = list[tuple[int, int, Path]]()
            for path in self._folder.glob("*/*"):
                with contextlib.suppress(FileNotFoundError):
                    found.append(((status := path.stat()).st_mtime_ns, status.st_size, path))
            total = sum(size for _, size, _ in found)
            room = min(self.room, total + shutil.disk_usage(self._folder).free - _SPARE)
            for _, size, path in sorted(found) if total > room - self.room // _SHARE else ():
                if total <= room * 7 / 8:
                    break
                path.unlink(missing_ok=True)
                total -= size
            self._since = 0


class RemoteReader:
    """Ranges of remote files through a disk cache, in threads and forks; can be pickled."""

    def __init__(self, settings: RemoteConfig, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._begin()

    def _begin(self) -> None:
        self._disk = DiskBlocks(self._folder, self._settings.cache_mb << 20)
        self._blocks: OrderedDict[tuple[RemoteFile, int], Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._waiting: queue.Queue[_Span] | None = None
        self._process = os.getpid()  # last: another thread of a child sees the parent's state or all of this

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[RemoteConfig, Path]]:
        return reader_of, (self._settings, self._folder)

    def find(self, url: str) -> RemoteFile:
        """A file as it is now; raises as `asked`."""
        return asked(url, lambda store: store.find(url), self._settings.patience)

    def fetch(self, file: RemoteFile, start: int, end: int, patience: float | None = None) -> bytes:
        """The bytes `start` to `end` - 1, which are not kept; raises as `read`."""
        patience = self._settings.patience if patience is None else patience
        return asked(file.url, lambda store: store.read(file, start, end), patience)

    def read(self, file: RemoteFile, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`; raises OSError (it changed) or UserError (no answer)."""
        if size <= 0:
            return b""
        if os.getpid() != self._process:
            self._begin()
        first, stop = offset // BLOCK, (offset + size - 1) // BLOCK + 1
        data = b"".join(self._read(file, first, stop, self._settings.patience))
        return data[offset - first * BLOCK :][:size]

    def _read(self, file: RemoteFile, first: int, stop: int, patience: float) -> list[bytes]:
        with self._lock:
            mine = {b: Future[bytes]() for b in range(first, stop) if (file, b) not in self._blocks}
            self._blocks |= {(file, block): future for block, future in mine.items()}
            futures = [self._blocks[file, block] for block in range(first, stop)]
            for block in range(first, stop):
                self._blocks.move_to_end((file, block))
            while len(self._blocks) > _MEMORY:
                self._blocks.popitem(last=False)
        try:
            for block, future in mine.items():
                data = self._disk.find(_name(file, block)) if file.version else None
                if data is not None and len(data) == min(BLOCK, file.size - block * BLOCK):
                    future.set_result(data)
            if missing := [block for block, future in mine.items() if not future.done()]:
                fetched = self._fetched(file, missing[0], missing[-1] + 1, patience)
                for block in missing:
                    mine[block].set_result(fetched[block - missing[0]])
        except BaseException:
            with self._lock:
                for block, future in mine.items():
                    self._blocks.pop((file, block), None)
                    future.cancel()
            raise
        found = []
        for block, future in enumerate(futures, first):
            try:
                found.append(future.result())
            except CancelledError:  # by another thread, which has asked once
                found += self._fetched(file, block, block + 1, patience)
        return found

    def _fetched(self, file: RemoteFile, first: int, stop: int, patience: float) -> list[bytes]:
        start, end = first * BLOCK, min(stop * BLOCK, file.size)
        data = self.fetch(file, start, end, patience)
        blocks = [data[place : place + BLOCK] for place in range(0, end - start, BLOCK)]
        if file.version:  # without one, what lies there in another run might be another file's
            for block, part in enumerate(blocks, first):
                self._disk.keep(_name(file, block), part)
        return blocks

    # ------------------------------------------------------------ reading ahead
    def expect(self, file: RemoteFile, offset: int, size: int) -> None:
        """Fetch in threads what will be read: at most a quarter of the disk cache of a long range."""
        if os.getpid() != self._process:
            self._begin()
        stop = min(offset + size, file.size)
        starts = [offset]
        if stop - offset > _SHORT * BLOCK:
            stop = min(stop, offset + (self._disk.room // 4 if file.version else 0))
            starts += range((offset // PIECE + 1) * PIECE, stop, PIECE)
        if self._waiting is None:
            self._waiting = queue.Queue(_WAITING)
            for _ in range(_THREADS):
                threading.Thread(target=self._read_ahead, args=(self._waiting,), daemon=True).start()
        for start, end in pairwise([*starts, stop]):
            if start < end:
                with contextlib.suppress(queue.Full):
                    self._waiting.put_nowait((file, start // BLOCK, -(-end // BLOCK)))

    def _read_ahead(self, waiting: queue.Queue[_Span]) -> None:
        while True:
            file, first, stop = waiting.get()
            paths = [self._disk.path(_name(file, block)) for block in range(first, stop)]
            with contextlib.suppress(OSError, UserError):  # whoever reads it asks again, and says so
                if len(paths) <= _SHORT + 1:
                    self._read(file, first, stop, patience=0)
                    continue
                with in_turn(paths[0]):  # of all processes, one fetches it
                    if not all(path.exists() for path in paths):
                        self._read(file, first, stop, patience=0)


def _name(file: RemoteFile, block: int) -> str:
    return f"{file.url}\n{file.size}\n{file.version}\n{block}"


@lru_cache(maxsize=8)
def reader_of(settings: RemoteConfig, folder: Path) -> RemoteReader:
    """The reader of this process: all corpora share its memory and its threads."""
    return RemoteReader(settings, folder)
