"""Files and folders that are replaced whole or not at all."""

import contextlib
import errno
import hashlib
import os
import shutil
from pathlib import Path


def file_digest(path: Path) -> str:
    """Sha256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that the disk or the quota is full (safetensors reports it as text)."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "os error 28" in str(error) or "No space left on device" in str(error)


def write_text(path: Path, text: str) -> None:
    """Write a text file, the same bytes on every system; `path` holds the old or the new text, never half."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    try:
        partial.write_text(text, encoding="utf-8", newline="\n")
        os.replace(partial, path)
    except BaseException:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
        raise


def replace_folder(draft: Path, target: Path) -> None:
    """Rename `draft` to `target`; a folder cannot be replaced in one call, so an old one steps aside first.

    Both must have the same parent. If the process dies in between, the old folder is found beside the target
    as `.NAME.old-PID`.
    """
    aside = target.with_name(f".{target.name}.old-{os.getpid()}")
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(draft, target)
    except BaseException:
        if aside.exists():
            os.rename(aside, target)
        raise
    _sync_path(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def sync_folder(folder: Path) -> None:
    """Force files and directory entries to the disk, so that a later rename never outlives their content."""
    for path in [*folder.rglob("*"), folder]:
        _sync_path(path)


def _sync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
