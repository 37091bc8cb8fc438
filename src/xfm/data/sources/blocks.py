"""Blocks of remote files on the disk of this machine: bounded, shared by its processes, checked when read."""

import contextlib
import fcntl
import hashlib
import logging
import os
import shutil
import zlib
from collections.abc import Iterator
from pathlib import Path

from xfm.core.files import write_data

_log = logging.getLogger(__name__)
_SHARE = 32
"""A process looks whether there is too much whenever it has written one part in so many of the room."""
_KEPT = 7 / 8
"""Share of the room that is left filled when some is made."""
_SPARE = 1 << 30
"""Bytes of the disk that are left to others, such as checkpoints."""


class DiskBlocks:
    """Disk cache of named blocks, least recently used first out. Every process tidies what it writes; each
    may exceed `room` bytes by a thirty-second. 0 keeps nothing."""

    def __init__(self, folder: Path, room: int) -> None:
        self._folder, self._room = folder, room
        self._said = False
        self._since = room  # bytes written since room was made last: look at what is there before the first

    @property
    def room(self) -> int:
        """Bytes that may be kept; 0 where nothing is."""
        return self._room

    def find(self, name: str) -> bytes | None:
        """A block; None where it is not there, or not as it was written."""
        if not self._room:
            return None
        path = self._path(name)
        try:
            data = path.read_bytes()
        except OSError:
            return None
        with contextlib.suppress(OSError):  # another user's, or of a file system that is read only
            os.utime(path)
        body, check = data[:-4], data[-4:]
        if len(check) == 4 and zlib.crc32(body).to_bytes(4, "little") == check:
            return body
        with contextlib.suppress(OSError):
            path.unlink()
        return None

    def has(self, name: str) -> bool:
        """Whether a block is there."""
        return bool(self._room) and self._path(name).exists()

    def keep(self, name: str, data: bytes) -> None:
        """Keep a block where there is room; a disk that is full or cannot be written is said once."""
        if not self._room:
            return
        self._since += len(data) + 4
        if self._since > self._room // _SHARE and self._make_room():
            self._since = 0
        path = self._path(name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(self._folder).free < _SPARE + len(data):
                self._say(f"less than {_SPARE >> 30} GiB of the disk is free, which is left to others")
                return
            write_data(path, data + zlib.crc32(data).to_bytes(4, "little"), lasting=False)
        except OSError as error:
            self._room = 0
            self._say(error.strerror)

    def _say(self, why: str | None) -> None:
        if not self._said:
            _log.warning("%s: nothing more is kept there (%s)", self._folder, why)
        self._said = True

    @contextlib.contextmanager
    def claimed(self, name: str) -> Iterator[bool]:
        """Say to other processes that this one fetches something; False where another one does already."""
        path = self._path(name).with_suffix(".claim")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError:
            yield False
            return
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process
        except BlockingIOError:
            yield False
        except OSError:  # a file system without locks: two may fetch the same, which is better than nobody
            yield True
        else:
            yield True
            path.unlink(missing_ok=True)
        finally:
            os.close(handle)

    def _path(self, name: str) -> Path:
        digest = hashlib.sha256(name.encode("utf-8", "surrogateescape")).hexdigest()[:40]
        return self._folder / digest[:2] / f"{digest}.block"

    def _make_room(self) -> bool:
        """Remove what was used or left longest ago; one process at a time. Whether this one has looked."""
        with contextlib.suppress(OSError):
            self._folder.mkdir(parents=True, exist_ok=True)
            handle = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found = sorted((s.st_mtime_ns, s.st_size, path) for path, s in self._files())
                total = sum(size for _, size, _ in found)
                room = min(self._room, total + shutil.disk_usage(self._folder).free - _SPARE)
                for _, size, path in found if total > room - self._room // _SHARE else ():
                    if total <= room * _KEPT:
                        break
                    path.unlink(missing_ok=True)
                    total -= size
                return True
            finally:
                os.close(handle)
        return False

    def _files(self) -> Iterator[tuple[Path, os.stat_result]]:
        for path in self._folder.glob("*/*"):
            with contextlib.suppress(FileNotFoundError):
                yield path, path.stat()
