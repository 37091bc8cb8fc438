"""Ranges of remote files: from memory, from blocks on the disk, or from the store; and read ahead."""

import contextlib
import itertools
import logging
import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from xfm.config.data import RemoteConfig
from xfm.data.sources.asking import asked
from xfm.data.sources.blocks import DiskBlocks
from xfm.data.sources.stores import RemoteFile
from xfm.errors import UserError
from xfm.paths import cache_folder

BLOCK = 256 << 10
"""Bytes of a block: pictures of some 100 kB, with what lies beside them, come in one or two."""
PIECE = 8 << 20
"""Bytes that are asked for at once when a long stretch is read ahead."""
_MEMORY = 128
"""Blocks in the memory of a process."""
_THREADS = 4
"""That read ahead."""
_log = logging.getLogger(__name__)
_WAITING = 1 << 14
"""Stretches that may wait to be read ahead."""
_LONGEST = 300.0
"""Seconds that a reader waits for a thread that fetches what it needs: more than a request may take."""
_Waiting = queue.PriorityQueue[tuple[bool, int, RemoteFile, int, int]]


class RemoteReader:
    """Ranges of remote files; safe to use after a fork, from several threads, and to pickle.

    Args:
        settings: how much is kept on the disk, and how long a store is asked again.
        folder: for the blocks.
    """

    def __init__(self, settings: RemoteConfig, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._begin()

    def _begin(self) -> None:
        self._disk = DiskBlocks(self._folder, self._settings.cache_mb << 20)
        self._memory: OrderedDict[tuple[RemoteFile, int], bytes] = OrderedDict()
        self._fetching: dict[tuple[RemoteFile, int], threading.Event] = {}
        self._lock = threading.Lock()
        self._waiting: _Waiting | None = None
        self._turn = itertools.count()
        self._process = os.getpid()  # last: another thread of a child sees the parent's state or all of this

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[RemoteConfig, Path]]:
        return _reader, (self._settings, self._folder)

    def find(self, url: str) -> RemoteFile:
        """A file as it is now; raises as `asked`."""
        return asked(url, lambda store: store.find(url), self._settings.patience)

    def fetch(self, file: RemoteFile, start: int, end: int, patience: float | None = None) -> bytes:
        """The bytes `start` to `end` - 1, which are not kept; raises as `read`."""
        patience = self._settings.patience if patience is None else patience
        return asked(file.url, lambda store: store.read(file, start, end), patience)

    def read(self, file: RemoteFile, offset: int, size: int) -> bytes:
        """Exactly `size` bytes at `offset`.

        Raises:
            OSError: they are not there, or the file is not the one that it was.
            UserError: the store does not answer, or refuses.
        """
        if size <= 0:
            return b""
        if os.getpid() != self._process:
            self._begin()
        first, stop = offset // BLOCK, (offset + size - 1) // BLOCK + 1
        found: dict[int, bytes] = {}
        for block in range(first, stop):
            if (data := self._known(file, block)) is not None:
                found[block] = data
        missing = [block for block in range(first, stop) if block not in found]
        if missing:
            found |= self._fetched(file, missing[0], missing[-1] + 1, self._settings.patience)
        data = b"".join(found[block] for block in range(first, stop))
        return data[offset - first * BLOCK :][:size]

    def expect(self, file: RemoteFile, offset: int, size: int) -> None:
        """Fetch what will be read soon, in threads: short stretches first.

        Of a long one, as much as a quarter of what the disk may keep; nothing where nothing is kept.
        """
        if os.getpid() != self._process:
            self._begin()
        stop = min(offset + size, file.size)
        short = stop - offset <= _MEMORY * BLOCK // 16
        if not short:
            stop = min(stop, offset + (self._disk.room // 4 if file.version else 0))
        starts = [offset] if short else [offset, *range((offset // PIECE + 1) * PIECE, stop, PIECE)]
        waiting = self._started()
        for start, end in pairwise([*starts, stop]):
            if start < end:
                with contextlib.suppress(queue.Full):
                    waiting.put_nowait((not short, next(self._turn), file, start // BLOCK, -(-end // BLOCK)))

    def _started(self) -> _Waiting:
        if self._waiting is None:
            self._waiting = queue.PriorityQueue(_WAITING)
            for _ in range(_THREADS):
                threading.Thread(target=self._read_ahead, args=(self._waiting,), daemon=True).start()
        return self._waiting

    def _read_ahead(self, waiting: _Waiting) -> None:
        while True:
            long, _, file, first, stop = waiting.get()
            try:
                if long:
                    self._fetch_long(file, first, stop)
                else:
                    self._fetch_short(file, first, stop)
            except (OSError, UserError):  # whoever reads it asks again, and says so
                pass
            except Exception:
                _log.warning("%s: reading ahead failed", file.url, exc_info=True)

    def _fetch_short(self, file: RemoteFile, first: int, stop: int) -> None:
        missing = [
            b for b in range(first, stop) if (file, b) not in self._fetching and not self._has(file, b)
        ]
        if missing:
            self._fetched(file, missing[0], missing[-1] + 1, patience=0)

    def _fetch_long(self, file: RemoteFile, first: int, stop: int) -> None:
        if all(self._disk.has(_name(file, block)) for block in range(first, stop)):
            return
        with self._disk.claimed(f"{_name(file, first)} ahead") as mine:
            if mine:
                self._fetched(file, first, stop, patience=0)

    def _has(self, file: RemoteFile, block: int) -> bool:
        return (file, block) in self._memory or (bool(file.version) and self._disk.has(_name(file, block)))

    def _known(self, file: RemoteFile, block: int) -> bytes | None:
        """A block that need not be asked for; one that is being fetched is waited for."""
        if (data := self._here(file, block)) is None:
            if event := self._fetching.get((file, block)):
                event.wait(_LONGEST)
            data = self._here(file, block)  # also where it came between the first look and now
        return data

    def _here(self, file: RemoteFile, block: int) -> bytes | None:
        with self._lock:
            data = self._memory.get((file, block))
            if data is not None:
                self._memory.move_to_end((file, block))
                return data
        data = self._disk.find(_name(file, block)) if file.version else None
        if data is not None and len(data) == min(BLOCK, file.size - block * BLOCK):
            self._remember(file, block, data)
            return data
        return None

    def _remember(self, file: RemoteFile, block: int, data: bytes) -> None:
        with self._lock:
            self._memory[file, block] = data
            while len(self._memory) > _MEMORY:
                self._memory.popitem(last=False)

    def _fetched(self, file: RemoteFile, first: int, stop: int, patience: float) -> dict[int, bytes]:
        done = threading.Event()
        keys = [(file, block) for block in range(first, stop)]
        events = [self._fetching.setdefault(key, done) for key in keys]
        mine = [key for key, event in zip(keys, events, strict=True) if event is done]
        if not mine:  # others fetch all of it
            for event in events:
                event.wait(_LONGEST)
            found = {block: data for _, block in keys if (data := self._here(file, block)) is not None}
            if len(found) == len(keys):
                return found
        try:
            start, end = first * BLOCK, min(stop * BLOCK, file.size)
            data = self.fetch(file, start, end, patience)
            blocks = {block: data[block * BLOCK - start :][:BLOCK] for block in range(first, stop)}
            for block, part in blocks.items():
                if file.version:  # without one, what lies there in another run might be another file's
                    self._disk.keep(_name(file, block), part)
                if stop - first <= _MEMORY // 16:
                    self._remember(file, block, part)
            return blocks
        finally:
            for key in mine:
                self._fetching.pop(key, None)
            done.set()


def _name(file: RemoteFile, block: int) -> str:
    return f"{file.url}\n{file.size}\n{file.version}\n{block}"


def reader_of(settings: RemoteConfig) -> RemoteReader:
    """The reader of this process: all corpora share its memory and its threads."""
    return _reader(settings, cache_folder() / "remote")


@lru_cache(maxsize=8)
def _reader(settings: RemoteConfig, folder: Path) -> RemoteReader:
    return RemoteReader(settings, folder)
