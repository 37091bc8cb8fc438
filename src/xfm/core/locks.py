"""One process at a time in a folder, by a lock that the kernel releases when its holder ends."""

import contextlib
import errno
import functools
import inspect
import json
import os
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

from filelock import lock_descriptor, unlock_descriptor

from xfm.core.errors import UserError, printable, refuse_none
from xfm.core.files import OPENING, read_at, writing
from xfm.core.paths import home_path

LOCK_FILE = ".xfm-lock"
_F = TypeVar("_F", bound=Callable[..., Any])
_held: set[str] = set()
"""Real paths of the lock files that this process holds: what it calls may lock the same folder again."""


class FolderInUseError(UserError):
    """Another process holds a folder."""


@contextlib.contextmanager
def locked(folder: Path, beside: bool = False) -> Iterator[None]:
    """Hold a folder for the block; other processes are refused (FolderInUseError). The lock
    file goes at the end, with folders made for it; `beside` puts it beside a folder that is replaced. Where
    the file system knows no locks, a note says so, and the block runs."""
    path = folder.parent / f".{folder.name}{LOCK_FILE}" if beside else folder / LOCK_FILE
    real = os.path.realpath(path)
    if real in _held:
        yield
        return
    folder.exists()  # a name that is too long is told by the command line, in fewer characters
    with writing(folder, "and run again"):
        made = [place for place in (path.parent, *path.parent.parents) if not place.exists()]
        path.parent.mkdir(parents=True, exist_ok=True)
        handle = _lock(path, folder)
    _held.add(real)
    try:
        yield
    finally:
        _held.discard(real)
        with contextlib.suppress(OSError):
            if _is_same(handle, path):  # not the one of another, where somebody has removed ours
                path.unlink()  # while it is locked: see `_lock`
        os.close(handle)
        with contextlib.suppress(OSError):
            for place in made:
                place.rmdir()


def holds(argument: str) -> Callable[[_F], _F]:
    """A function that holds the folder that an argument names while it runs, see `locked`."""

    def decorate(function: _F) -> _F:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def holding(*args: Any, **kwargs: Any) -> Any:
            folder = signature.bind(*args, **kwargs).arguments[argument]
            refuse_none(**{argument: folder})
            with locked(home_path(folder)):
                return function(*args, **kwargs)

        return cast("_F", holding)

    return decorate


def _lock(path: Path, folder: Path) -> int:
    while True:
        handle = _open(path)
        mine = lock_file(handle, folder)
        if mine is False:
            holder = _holder(handle)
            os.close(handle)
            said = f"{folder} is in use by {holder}: wait until that ends, or choose another folder"
            raise FolderInUseError(said)
        if mine is None or _is_same(handle, path):
            break
        os.close(handle)  # its holder has removed the file in between: others would lock another one
    who = {"process": os.getpid(), "host": socket.gethostname(), "since": time.strftime("%Y-%m-%d %H:%M:%S")}
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps(who).encode())
    return handle


def lock_file(handle: int, place: Path) -> bool | None:
    """Lock an open file; False where another process has it, None (noted) where nothing can be locked."""
    try:
        return lock_descriptor(handle, blocking=False)
    except OSError as error:
        said = f"{place} lies on a file system without locks ({error.strerror}): start no second run there"
        print(f"Note: {said}.", file=sys.stderr, flush=True)
        return None


@contextlib.contextmanager
def in_turn(path: Path) -> Iterator[None]:
    """Hold the lock of a file that several processes would make, after whoever holds it; raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | OPENING, 0o644)
    try:
        while lock_file(handle, path) is False:
            time.sleep(0.2)
        yield
    finally:
        with contextlib.suppress(OSError):  # a process forked meanwhile has the handle, too
            unlock_descriptor(handle)
        os.close(handle)


def _open(path: Path) -> int:
    """A descriptor of the lock file. A folder may come from anybody: a link would lead to a file elsewhere, a
    second name is one of another file, and a pipe or device cannot be locked. Raises UserError."""
    more = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    flags = os.O_RDWR | os.O_CREAT | OPENING | more
    try:
        handle = os.open(path, flags, 0o644)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise
    else:
        found = os.fstat(handle)
        if stat.S_ISREG(found.st_mode) and found.st_nlink <= 1:  # 0 where its holder has just removed it
            return handle
        os.close(handle)
    raise UserError(
        f"{path} is a link, a folder or a pipe, where the folder's lock file belongs: remove it, or choose "
        "another folder"
    )


def _is_same(handle: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), path.stat())
    except FileNotFoundError:
        return False


def _holder(handle: int) -> str:
    try:
        found: dict[str, Any] = json.loads(read_at(handle, 1000, 0))
        said = f"process {found['process']} on {found['host']} since {found['since']}"
        return printable(said)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):  # it is about to write it
        return "another process"
