"""Folders that are written whole or not at all, with checksums."""

import errno
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

from xfm.errors import UserError
from xfm.files import file_digest, is_disk_full, replace_folder, sync_folder

MANIFEST = "manifest.json"


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
        sync_folder(partial)
        replace_folder(partial, target)
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


def _write_manifest(folder: Path) -> None:
    digests = {
        p.relative_to(folder).as_posix(): file_digest(p) for p in sorted(folder.rglob("*")) if p.is_file()
    }
    manifest = {"sha256": digests, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
