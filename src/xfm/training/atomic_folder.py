"""Folders that are written whole or not at all, with checksums."""

import errno
import json
import shutil
import time
from collections.abc import Callable, Set
from pathlib import Path

from xfm.core.errors import printable
from xfm.core.files import drafting, file_digest, path_below, read_text, replace_folder, sync_folder, writing

MANIFEST = "manifest.json"


def saved_before(folder: Path) -> str:
    """What there is to do besides making room on a full disk, by whether checkpoints are below a folder."""
    if any(folder.rglob(f"step-*/{MANIFEST}")):
        return "and run again with --resume, what was saved before is unharmed"
    return "and run again, with --resume or without: nothing is saved yet"


def write_folder(target: Path, write: Callable[[Path], None], needed: int = 0) -> None:
    """Write a folder beside its final name with a manifest of checksums, sync it and rename it. Afterwards
    `target` is the complete new folder or as before; `needed` bytes (0: unknown) notice a full disk first.
    UserError: a full disk, or a place that cannot be written."""
    with writing(target, lambda: saved_before(target.parent)), drafting(target) as draft:
        free = shutil.disk_usage(target.parent).free
        if free < needed:
            raise OSError(errno.ENOSPC, f"{needed >> 20} MiB needed, {free >> 20} MiB free")
        write(draft)
        files = (path for path in sorted(draft.rglob("*")) if path.is_file())
        digests = {path.relative_to(draft).as_posix(): file_digest(path) for path in files}
        manifest = {"sha256": digests, "written": time.strftime("%Y-%m-%dT%H:%M:%S%z")}
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=1), encoding="utf-8")
        sync_folder(draft)
        replace_folder(draft, target)


def damage(
    folder: Path, required: Set[str] = frozenset(), told: Callable[[int], object] = lambda read: None
) -> str | None:
    """What is wrong with a folder of `write_folder`, None if it is whole; `told` hears how many more bytes
    were read."""
    try:
        manifest = json.loads(read_text(folder / MANIFEST))
        files: dict[str, str] = dict(manifest["sha256"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return f"{MANIFEST} is missing or unreadable"
    if unlisted := sorted(required - files.keys()):
        return f"{MANIFEST} does not list {unlisted[0]}"
    for name, digest in files.items():
        path = path_below(folder, name)
        if path is None:
            return f"{MANIFEST} lists {printable(name)}, which lies elsewhere"
        if not path.is_file():
            return f"{name} is missing"
        try:
            found = file_digest(path, told)
        except OSError as error:
            return f"{name} cannot be read ({error.strerror or error})"
        if found != digest:
            return f"{name} is truncated or altered (its checksum differs)"
    return None
