"""What tells the files of a run's data from others, at the cost of reading a little of each.

A copy on another disk is the same data; hashing all of a large corpus would take hours. Files of up to 4 MiB
are digested whole, of larger ones 64 blocks from the first byte to the last, and the size. Of a folder of
pictures, the names and some of the files. Pictures that JSON lines name are not looked at.
"""

import hashlib
import os
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xfm.config.data import DataConfig
from xfm.data.records import Limits
from xfm.data.sources import resolve_files
from xfm.data.sources.base import StoredFile, sampled_digest
from xfm.data.sources.folder import FolderSource
from xfm.errors import UserError

_PICTURES = 64


def data_fingerprint(configs: Iterable[DataConfig], root: Path) -> dict[str, str]:
    """Every file that some streams and their tokenizer are read from, and a digest of it.

    Args:
        configs: the data, its paths resolved; that of every phase.
        root: files below it are named from there, so that the folder may move.

    Raises:
        UserError: a file is missing or cannot be read.
    """
    found = sorted({path for config in configs for path in _files(config)})
    with ThreadPoolExecutor(8) as pool:
        return dict(zip((_name(path, root) for path in found), pool.map(_digest, found), strict=True))


def _files(config: DataConfig) -> Iterator[Path]:
    yield Path(config.tokenizer)
    for stream in config.streams.values():
        for corpus in stream.corpora if stream.batch_size else ():
            yield from resolve_files(corpus.path) or [Path(corpus.path)]


def _name(path: Path, root: Path) -> str:
    inside = path.is_relative_to(root)
    return (path.relative_to(root) if inside else path).as_posix()


def _digest(path: Path) -> str:
    try:
        return _of_folder(path) if path.is_dir() else _of_file(StoredFile.of(path))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); check the path.") from error


def _of_file(file: StoredFile) -> str:
    return f"{file.size} bytes, {sampled_digest(file).hex()}"


def _of_folder(folder: Path) -> str:
    names = FolderSource(folder, Limits()).names
    digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape"))
    for name in names[:: max(1, len(names) // _PICTURES)]:
        digest.update(_of_file(StoredFile.of(Path(os.path.join(folder, name)))).encode())
    return f"{len(names)} pictures, {digest.hexdigest()[:16]}"


def data_changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs, in words, a file each."""
    changed = [
        f"{name} was {before[name]} and is now {now[name]}"
        for name in before
        if name in now and before[name] != now[name]
    ]
    gone = [f"{name} is not read any more" for name in before if name not in now]
    return [*changed, *gone, *(f"{name} is new" for name in now if name not in before)]
