"""Sources of samples on disk: tar shards, JSON lines with an image folder, folders of either."""

import fnmatch
import glob
import os
from itertools import groupby
from pathlib import Path

from xfm.config.data import RemoteConfig
from xfm.core.errors import UserError
from xfm.core.paths import is_url
from xfm.data.records import SampleKind
from xfm.data.sources.base import ConcatSource, RecordSource, check_numbers, expanded
from xfm.data.sources.plain_files import FolderSource, JsonLinesSource
from xfm.data.sources.remote_shards import TAR, remote_shards
from xfm.data.sources.shard_index import COMMAND, saved_index, scanned_index
from xfm.data.sources.shards import LocalShards, ShardSource

_ENDINGS = (TAR, ".jsonl")


def open_source(path: Path | str, kind: SampleKind | str, remote: RemoteConfig | None = None) -> RecordSource:
    """Open a corpus: a tar shard, a JSON-lines file, a pattern (`dir/*.tar`), a numbered range
    (`dir/part-{00000..00012}.tar`, of which every shard must be there), a folder holding shards or JSON-lines
    files, of images also a folder of pictures, or shards at an address, see `remote_shards`.

    `kind` is what records are read as, `remote` how shards at an address are read. Where `xfm data index` has
    written an index beside shards, they are not scanned. Raises UserError when nothing is there, or a shard
    is missing, truncated or of another format.
    """
    kind = SampleKind(kind)
    if is_url(str(path)):
        return ShardSource(remote_shards(str(path), remote or RemoteConfig()), kind)
    files = resolve_files(path)
    if not files and kind is SampleKind.IMAGE and Path(path).is_dir():
        pictures = FolderSource(Path(path))
        if len(pictures):
            return pictures
    if not files:
        told = "give tar shards, a .jsonl file, or a folder of either (`xfm prepare` makes them)"
        raise UserError(f"{path}: no {kind} data there; {told}.")
    parts: list[RecordSource] = []
    for (folder, ending), group in groupby(files, key=lambda file: (file.parent, file.suffix)):
        if ending == TAR:
            names = [file.name for file in group]
            index = saved_index(folder) or scanned_index(folder, names)
            parts.append(ShardSource(LocalShards(folder, names, index), kind))
        else:
            parts += [JsonLinesSource(file, kind) for file in group]
    return parts[0] if len(parts) == 1 else ConcatSource(parts)


def resolve_files(path: Path | str) -> list[Path]:
    """The shards and JSON-lines files of a corpus path, in order; none for a bare folder. Raises UserError
    when a file is missing (a gap in the numbers, or one that the index has) or has an unknown ending."""
    text = str(path)
    place = Path(text)
    there = os.path.exists(place)  # what exists is no pattern, whatever its name
    literal = text  # the longest beginning that is a folder
    while literal and not os.path.isdir(literal):
        literal = literal.rstrip(os.sep).rpartition(os.sep)[0]
        literal += os.sep if literal or text.startswith(os.sep) else ""
    names = [text] if there else expanded(text, len(literal))
    if names != [text]:
        return [file for name in names for file in resolve_files(name)]
    folder, pattern = place.parent, place.name
    if place.is_dir():
        folder, pattern = place, "*"
        files = [place / name for name in sorted(os.listdir(place)) if name.endswith(_ENDINGS)]
    elif not there and glob.has_magic(text[len(literal) :]):
        files = sorted(Path(name) for name in glob.glob(glob.escape(literal) + text[len(literal) :]))
    elif not place.is_file():
        raise UserError(f"{text}: no such shard or file; check the path, or make it with `xfm prepare`.")
    else:
        files = [place]
    if files != [place]:
        if (index := saved_index(folder)) is None:
            check_numbers(text, map(str, files))
        elif gone := {*fnmatch.filter(index.names, pattern)}.difference(os.listdir(folder)):
            remedy = f"download or prepare it again, or run `{COMMAND} {folder}` to go on without it"
            raise UserError(f"{folder / min(gone)}: the shard is missing, which {index.place} has; {remedy}.")
    for file in files:
        if file.suffix not in _ENDINGS:
            raise UserError(f"{file}: unknown ending; give .tar shards (not compressed) or .jsonl files.")
    return files
