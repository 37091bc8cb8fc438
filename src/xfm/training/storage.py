"""Folders that are written whole or not at all, with checksums."""

import errno
import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from xfm.errors import UserError

MANIFEST = "manifest.json"


def file_digest(path: Path) -> str:
    """Sha256 of a file as hexadecimal digits."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def is_disk_full(error: BaseException) -> bool:
    """Whether an error says that the disk or the quota is full (safetensors reports it as text)."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return True
    return "os error 28" in str(error) or "No space left on device" in str(error)


def write_folder(target: Path, write: Callable[[Path], None], needed: int = 0) -> None:
    """Write a folder beside its final name, add a manifest with checksums, sync it, and rename it.

    Whatever happens, `target` is afterwards the complete new folder or what it was before.

    Args:
        target: the folder; one that exists is replaced.
        write: writes the files into the folder it is given.
        needed: bytes that will be written, to notice a full disk before starting; 0 skips the check.

    Raises:
        UserError: the disk is full.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.parent / f".{target.name}.partial-{os.getpid()}"
    shutil.rmtree(partial, ignore_errors=True)
    try:
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise OSError(errno.ENOSPC, f"{needed >> 20} MiB needed, {free >> 20} MiB free")
        partial.mkdir()
        write(partial)
        _write_manifest(partial)
        _sync(partial)
        _replace(partial, target)
    except Exception as error:
        if is_disk_full(error):
            raise UserError(
                f"{target}: the disk is full ({error}); free some space and run again with --resume, "
                "what was saved before is unharmed"
            ) from error
        raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def damage(folder: Path) -> str | None:
    """What is wrong with a folder written by `write_folder`, in a few words, or None when it is whole."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files: dict[str, str] = manifest["sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return f"{MANIFEST} is missing or unreadable"
    for name, digest in files.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if file_digest(path) != digest:
            return f"{name} is truncated or altered (its checksum differs)"
    return None


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    partial = path.with_name(f".{path.name}.partial-{os.getpid()}")
    partial.write_text(text, encoding="utf-8")
    os.replace(partial, path)


def _write_manifest(folder: Path) -> None:
    digests = {
        p.relative_to(folder).as_posix(): file_digest(p) for p in sorted(folder.rglob("*")) if p.is_file()
    }
    manifest = {"sha256": digests, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")


def _sync(folder: Path) -> None:
    """Force files and directory entries to the disk, so that the rename never outlives their content."""
    for path in [*folder.rglob("*"), folder]:
        _sync_path(path)


def _sync_path(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _replace(partial: Path, target: Path) -> None:
    """Rename over `target`; a folder cannot be replaced in one call, so the old one steps aside first."""
    aside = target.parent / f".{target.name}.old-{os.getpid()}"
    if target.exists():
        os.replace(target, aside)
    try:
        os.replace(partial, target)
    except OSError:
        if aside.exists():
            os.rename(aside, target)
        raise
    _sync_path(target.parent)
    shutil.rmtree(aside, ignore_errors=True)
