"""Folders that several processes would make alike, each of which appears whole."""

import contextlib
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path

from xfm.files import sync_folder


def folder_mark(folder: Path) -> tuple[str, int, int]:
    """What tells a folder from another one that was there before it, for processes that outlive both."""
    found = folder.stat()
    return str(folder), found.st_ino, found.st_mtime_ns


def found_or_made(folder: Path, make: Callable[[Path], None]) -> None:
    """Make a folder unless it is there; whoever else does so at the time makes the same.

    Args:
        folder: that is needed.
        make: fills a draft of it, an empty folder beside it.
    """
    if folder.is_dir():
        return
    draft = folder.with_name(f"{folder.name}.{socket.gethostname()}-{os.getpid()}")
    draft.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    try:
        make(draft)
        sync_folder(draft)
        with contextlib.suppress(OSError):  # another process was faster
            os.rename(draft, folder)
    finally:
        shutil.rmtree(draft, ignore_errors=True)
