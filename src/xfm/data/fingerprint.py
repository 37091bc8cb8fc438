"""Digests of the files of a run's data, the same for a copy on another disk. Files of up to 4 MiB are
digested whole, of larger ones the size and 64 blocks; of a folder of images the names and some files, of
JSON lines no images."""

import hashlib
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from pathlib import Path

from xfm.config.data import DataConfig, RemoteConfig
from xfm.core.files import reading
from xfm.core.paths import is_url
from xfm.data.folders import scan_folder
from xfm.data.sources import resolve_files
from xfm.data.sources.base import StoredFile, sampled_digest
from xfm.data.sources.remote_shards import TAR, remote_shards
from xfm.data.sources.shard_index import saved_index

_PICTURES = 64
_MANY = 1000
"""Files of a corpus that are named one by one."""


def data_fingerprint(configs: Iterable[DataConfig], root: Path) -> dict[str, str]:
    """A digest of every file that the streams and their tokenizer are read from, by its path from `root`, so
    that the folder may move; of more than a thousand files of a corpus, one of all. Raises UserError."""
    used = list(configs)
    places: dict[str, RemoteConfig] = {}
    for config in used:
        for stream in (*config.streams.values(), *config.validation.streams.values()):
            if stream.batch_size:
                places |= {corpus.path: config.remote for corpus in stream.corpora}
    digests: dict[str, str] = {}
    with ThreadPoolExecutor(8) as pool:
        for place, remote in places.items():
            if is_url(place):
                corpus = remote_shards(place, remote)
                table, lines = corpus.index, {}
                for name, number in zip(corpus.names, table.numbers(corpus.names).tolist(), strict=True):
                    said = _line(int(table.sizes[number]), table.samples[number].tobytes())
                    version = corpus.files[name].version if name in corpus.files else ""
                    lines[f"{corpus.folder}/{name}"] = f"{said}, {version}" if version else said
            else:
                files = resolve_files(place) or [Path(place)]
                known = _indexed(files)
                found = pool.map(lambda path, known=known: known.get(path) or _digest(path), files)
                lines = {_name(path, root): digest for path, digest in zip(files, found, strict=True)}
            if len(lines) > _MANY:
                text = "".join(f"{name} {line}\n" for name, line in sorted(lines.items()))
                digest = hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]
                name = place if is_url(place) else _name(Path(place), root)
                lines = {name: f"{len(lines)} files, {digest}"}
            digests |= lines
    digests |= {_name(path, root): _digest(path) for path in {Path(config.tokenizer) for config in used}}
    return dict(sorted(digests.items()))


def _indexed(paths: Iterable[Path]) -> dict[Path, str]:
    """What the saved indexes say of shards; these are compared with it when they are read."""
    found: dict[Path, str] = {}
    shards = sorted(path for path in paths if path.suffix == TAR)
    for folder, group in groupby(shards, lambda path: path.parent):
        if (index := saved_index(folder)) is not None:
            said = zip(index.sizes.tolist(), index.samples, strict=True)
            lines = [_line(size, sample.tobytes()) for size, sample in said]
            digests = dict(zip(index.names, lines, strict=True))
            found |= {path: digests[path.name] for path in group if path.name in digests}
    return found


def _name(path: Path, root: Path) -> str:
    inside = path.is_relative_to(root)
    return (path.relative_to(root) if inside else path).as_posix()


def _digest(path: Path) -> str:
    with reading(path):
        if not path.is_dir():
            file = StoredFile.of(path)
            return _line(file.size, sampled_digest(file))
        names, _ = scan_folder(path)
        digest = hashlib.sha256("\n".join(names).encode(errors="surrogateescape"))
        for name in names[:: max(1, len(names) // _PICTURES)]:
            digest.update(_digest(path / name).encode())
        return f"{len(names)} pictures, {digest.hexdigest()[:16]}"


def _line(size: int, sample: bytes) -> str:
    return f"{size} bytes, {sample.hex()}"


def data_changes(before: dict[str, str], now: dict[str, str]) -> list[str]:
    """What differs, in words, a file each."""
    both = [name for name in before if name in now and before[name] != now[name]]
    changed = [f"{name} was {before[name]} and is now {now[name]}" for name in both]
    gone = [f"{name} is not read any more" for name in before if name not in now]
    return [*changed, *gone, *(f"{name} is new" for name in now if name not in before)]
