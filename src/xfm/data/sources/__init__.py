"""Sources of samples on disk: tar shards, JSON lines with an image folder, folders of either."""

import glob
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatch, translate
from itertools import groupby
from pathlib import Path

from xfm.config.data import RemoteConfig
from xfm.core.errors import UserError
from xfm.core.files import read_text
from xfm.core.paths import is_url
from xfm.data.records import Limits, SampleKind
from xfm.data.sources.base import ConcatSource, RecordSource, check_numbers, expanded
from xfm.data.sources.plain_files import FolderSource, JsonLinesSource
from xfm.data.sources.remote_shards import TAR, remote_shards
from xfm.data.sources.scanned import scanned_index
from xfm.data.sources.shard_index import COMMAND, ShardIndex, saved_index
from xfm.data.sources.shards import LocalShards, ShardSource

_READERS = {".jsonl": JsonLinesSource}
_ENDINGS = (TAR, *_READERS)
_MANIFEST = "world.json"


def open_source(
    path: Path | str,
    kind: SampleKind | str,
    limits: Limits | None = None,
    remote: RemoteConfig | None = None,
) -> RecordSource:
    """Open a corpus.

    Where `xfm data index` has written an index beside tar shards, they are not scanned.

    Args:
        path: a tar shard, a JSON-lines file, a pattern (`dir/*.tar`), a numbered range
            (`dir/part-{00000..00012}.tar`, of which every shard must be there), or a folder holding shards or
            JSON-lines files. For images also a folder of pictures. Shards may lie at an address, see
            `remote_shards`.
        kind: what to read the records as.
        limits: largest record that is read.
        remote: how shards at an address are read.

    Raises:
        UserError: when nothing is there, or a shard is missing, truncated or of another format.
    """
    kind, limits = SampleKind(kind), limits or Limits()
    if is_url(str(path)):
        shards = remote_shards(str(path), remote or RemoteConfig())
        return ShardSource(shards, shards.names, shards.index, kind, limits)
    if (found := indexed_shards(path)) is not None and not _others(path):
        storage = LocalShards(found.folder, indexed=True)
        return ShardSource(storage, found.names, found.index, kind, limits)
    files = resolve_files(path)
    if not files and kind is SampleKind.IMAGE and Path(path).is_dir():
        pictures = FolderSource(Path(path), limits)
        if len(pictures):
            return pictures
    if not files:
        raise UserError(
            f"{path}: no {kind} data there; give tar shards, a .jsonl file, or a folder holding either "
            "(`xfm prepare` makes them)."
        )
    parts = list(_parts(files, kind, limits))
    return parts[0] if len(parts) == 1 else ConcatSource(parts)


@dataclass(frozen=True, eq=False)
class IndexedShards:
    """Some shards of a folder, in order, and the index of the folder."""

    folder: Path
    names: list[str]
    index: ShardIndex


def indexed_shards(path: Path | str) -> IndexedShards | None:
    """The shards of a folder with an index, or of a pattern in one; raises UserError."""
    text = str(path)
    place = Path(text)
    if os.path.isdir(place):
        folder, pattern = place, "*"
    elif not os.path.exists(place) and glob.has_magic(place.name) and os.path.isdir(place.parent):
        folder, pattern = place.parent, place.name
    else:
        return None
    if (index := saved_index(folder)) is None:
        return None
    fits = re.compile(translate(pattern)).match
    names = sorted(name for name in os.listdir(folder) if name.endswith(TAR) and fits(name))
    if gone := {name for name in index.table.names if fits(name)}.difference(names):
        raise UserError(
            f"{folder / min(gone)}: the shard is missing, which {index.place} has; download or prepare it "
            f"again, or run `{COMMAND} {folder}` to go on without it."
        )
    return IndexedShards(folder, names, index) if names else None


def _others(path: Path | str) -> bool:
    text = str(path)
    if not os.path.isdir(text):
        return not text.endswith(TAR)
    return any(name.endswith(tuple(_READERS)) for name in os.listdir(text))


def _parts(files: list[Path], kind: SampleKind, limits: Limits) -> Iterator[RecordSource]:
    for (folder, ending), group in groupby(files, key=lambda file: (file.parent, file.suffix)):
        if ending == TAR:
            names = [file.name for file in group]
            saved = saved_index(folder)
            storage = LocalShards(folder, indexed=saved is not None)
            yield ShardSource(storage, names, saved or scanned_index(folder, names), kind, limits)
        else:
            yield from (_READERS[ending](file, kind, limits) for file in group)


def resolve_files(path: Path | str) -> list[Path]:
    """The shards and JSON-lines files of a corpus path, in order; none for a bare folder. Raises UserError
    when a file is missing (a gap in the numbers, or a file that its world lists) or has an unknown ending."""
    text = str(path)
    place = Path(text)
    there = os.path.exists(place)  # what exists is no pattern, whatever its name
    names = [text] if there else expanded(text, len(_existing(text)))
    if names != [text]:
        return [file for name in names for file in resolve_files(name)]
    known = indexed_shards(path)
    if known is not None and not _others(path):
        return [known.folder / name for name in known.names]
    if place.is_dir():
        files = [place / name for name in sorted(os.listdir(place)) if name.endswith(_ENDINGS)]
        _check_complete(place, files, place, known)
    elif not there and glob.has_magic(text[len(_existing(text)) :]):
        files = sorted(Path(name) for name in glob.glob(_pattern(text)))
        _check_complete(place, files, place.parent, known)
    else:
        files = [place]
        if not place.is_file():
            raise UserError(f"{text}: no such shard or file; check the path, or make it with `xfm prepare`.")
    for file in files:
        if file.suffix not in _ENDINGS:
            raise UserError(f"{file}: unknown ending; give .tar shards (not compressed) or .jsonl files.")
    return files


def _existing(text: str) -> str:
    found = text
    while found and not os.path.isdir(found):
        found = found.rstrip(os.sep).rpartition(os.sep)[0]
        found += os.sep if found or text.startswith(os.sep) else ""
    return found


def _pattern(text: str) -> str:
    literal = _existing(text)
    return glob.escape(literal) + text[len(literal) :]


def _check_complete(place: Path, files: list[Path], folder: Path, known: IndexedShards | None) -> None:
    if known is not None:
        return
    pattern = f"{glob.escape(str(folder))}/*" if place == folder else _pattern(str(place))
    check_numbers(str(place), map(str, files))
    for listed in _listed(folder):
        if listed.suffix in _ENDINGS and fnmatch(str(listed), pattern) and listed not in files:
            raise UserError(f"{listed}: the file is missing; build its world again with `xfm prepare`.")


def _listed(folder: Path) -> list[Path]:
    world = folder.parent
    try:
        names = json.loads(read_text(world / _MANIFEST))["files"]
        return [world / name for name in names if world / Path(name).parent == folder]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return []
