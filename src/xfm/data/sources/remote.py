"""Ranges of remote files: from memory, from blocks on the disk, or from the store; and read ahead."""

import contextlib
import logging
import os
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import Future
from functools import lru_cache
from itertools import pairwise
from pathlib import Path
from typing import Any

from xfm.config.data import RemoteConfig
from xfm.core.errors import UserError
from xfm.core.paths import cache_folder
from xfm.data.sources.asking import asked
from xfm.data.sources.blocks import DiskBlocks
from xfm.data.sources.stores import RemoteFile

BLOCK = 256 << 10
"""Bytes of a block: pictures of some 100 kB, with what lies beside them, come in one or two."""
PIECE = 8 << 20
"""Bytes that are asked for at once when a long stretch is read ahead."""
_MEMORY, _SHORT = 128, 8
"""Blocks in the memory of a process, and of a stretch that is kept there."""
_THREADS = 4
"""That read ahead."""
_WAITING = 1 << 14
"""Stretches that may wait to be read ahead."""
_LONGEST = 300.0
"""Seconds that a reader waits for a thread that fetches what it needs: more than a request may take."""
_log = logging.getLogger(__name__)
_Waiting = queue.Queue[tuple[RemoteFile, int, int]]


class RemoteReader:
    """Ranges of remote files through a disk cache; safe to use after a fork, from several threads, and to
    pickle."""

    def __init__(self, settings: RemoteConfig, folder: Path) -> None:
        self._settings, self._folder = settings, folder
        self._begin()

    def _begin(self) -> None:
        self._disk = DiskBlocks(self._folder, self._settings.cache_mb << 20)
        self._blocks: OrderedDict[tuple[RemoteFile, int], Future[bytes]] = OrderedDict()
        self._lock = threading.Lock()
        self._waiting: _Waiting | None = None
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
        """Exactly `size` bytes at `offset`; raises OSError where the file changed, UserError where the store
        does not answer."""
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
                if (data := self._on_disk(file, block)) is not None:
                    future.set_result(data)
            missing = [block for block, future in mine.items() if not future.done()]
            if missing:
                fetched = self._fetched(file, missing[0], missing[-1] + 1, patience)
                for block in missing:
                    mine[block].set_result(fetched[block - missing[0]])
        except BaseException as error:
            for future in mine.values():
                if not future.done():
                    future.set_exception(error)
            self._forget(file, mine)
            raise
        if stop - first > _SHORT:
            self._forget(file, mine)
        return [self._waited(file, block, future, patience) for block, future in enumerate(futures, first)]

    def _waited(self, file: RemoteFile, block: int, future: Future[bytes], patience: float) -> bytes:
        try:
            return future.result(_LONGEST)
        except (OSError, UserError):  # of another thread, which has asked once
            return self._fetched(file, block, block + 1, patience)[0]

    def _forget(self, file: RemoteFile, blocks: dict[int, Future[bytes]]) -> None:
        with self._lock:
            for block, future in blocks.items():
                if self._blocks.get((file, block)) is future:
                    del self._blocks[file, block]

    def _on_disk(self, file: RemoteFile, block: int) -> bytes | None:
        data = self._disk.find(_name(file, block)) if file.version else None
        return data if data is not None and len(data) == min(BLOCK, file.size - block * BLOCK) else None

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
        """Fetch what will be read soon, in threads: of a long range as much as a quarter of the disk cache;
        nothing where nothing is kept."""
        if os.getpid() != self._process:
            self._begin()
        stop = min(offset + size, file.size)
        short = stop - offset <= _SHORT * BLOCK
        if not short:
            stop = min(stop, offset + (self._disk.room // 4 if file.version else 0))
        starts = [offset] if short else [offset, *range((offset // PIECE + 1) * PIECE, stop, PIECE)]
        if self._waiting is None:
            self._waiting = queue.Queue(_WAITING)
            for _ in range(_THREADS):
                threading.Thread(target=self._read_ahead, args=(self._waiting,), daemon=True).start()
        for start, end in pairwise([*starts, stop]):
            if start < end:
                with contextlib.suppress(queue.Full):
                    self._waiting.put_nowait((file, start // BLOCK, -(-end // BLOCK)))

    def _read_ahead(self, waiting: _Waiting) -> None:
        while True:
            file, first, stop = waiting.get()
            try:
                if stop - first <= _SHORT + 1:
                    self._read(file, first, stop, patience=0)
                elif not all(self._disk.has(_name(file, block)) for block in range(first, stop)):
                    with self._disk.claimed(f"{_name(file, first)} ahead") as mine:
                        if mine:
                            self._read(file, first, stop, patience=0)
            except (OSError, UserError):  # whoever reads it asks again, and says so
                pass
            except Exception:
                _log.warning("%s: reading ahead failed", file.url, exc_info=True)


def _name(file: RemoteFile, block: int) -> str:
    return f"{file.url}\n{file.size}\n{file.version}\n{block}"


def reader_of(settings: RemoteConfig) -> RemoteReader:
    """The reader of this process: all corpora share its memory and its threads."""
    return _reader(settings, cache_folder() / "remote")


@lru_cache(maxsize=8)
def _reader(settings: RemoteConfig, folder: Path) -> RemoteReader:
    return RemoteReader(settings, folder)
