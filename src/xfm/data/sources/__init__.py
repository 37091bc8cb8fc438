"""Sources of samples on disk: tar shards, JSON lines with an image folder, folders of either."""

import glob
import logging
import re
from pathlib import Path

from xfm.data.records import BadRecordError, Limits, Record, Sample, SampleKind
from xfm.data.sources.base import ConcatSource, RecordSource, Source
from xfm.data.sources.folder import FolderSource
from xfm.data.sources.jsonl import JsonLinesSource
from xfm.data.sources.tar import TarSource
from xfm.errors import UserError

__all__ = [
    "BadRecordError",
    "Limits",
    "Record",
    "RecordSource",
    "Sample",
    "SampleKind",
    "Source",
    "open_source",
    "resolve_files",
]

_READERS = {".tar": TarSource, ".jsonl": JsonLinesSource}
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_NUMBERED = re.compile(r"^(.*?)(\d+)(\.[a-z]+)$")
_log = logging.getLogger(__name__)


def open_source(path: Path | str, kind: SampleKind | str, limits: Limits | None = None) -> Source:
    """Open a corpus.

    Args:
        path: a tar shard, a JSON-lines file, a pattern (`dir/*.tar`), a numbered range
            (`dir/part-{00000..00012}.tar`, of which every shard must be there), or a folder holding shards or
            JSON-lines files. For images also a folder of pictures.
        kind: what to read the records as.
        limits: largest record that is read.

    Raises:
        UserError: when nothing is there, or a shard is missing, truncated or of another format.
    """
    kind, limits = SampleKind(kind), limits or Limits()
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
    parts = [_READERS[file.suffix](file, kind, limits) for file in files]
    return parts[0] if len(parts) == 1 else ConcatSource(parts)


def resolve_files(path: Path | str) -> list[Path]:
    """The shards and JSON-lines files that a corpus path stands for, in order; none for a bare folder.

    Raises:
        UserError: when a named file is missing or has an unknown ending.
    """
    text = str(path)
    span = _RANGE.search(text)
    if span:
        first, last = span.groups()
        names = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
        return [file for n in names for file in resolve_files(text[: span.start()] + n + text[span.end() :])]
    if Path(text).is_dir():
        files = sorted(file for ending in _READERS for file in Path(text).glob(f"*{ending}"))
    elif glob.has_magic(text) and not Path(text).exists():
        files = sorted(Path(name) for name in glob.glob(text))
    else:
        files = [Path(text)]
        if not files[0].is_file():
            raise UserError(f"{text}: no such shard or file; check the path, or make it with `xfm prepare`.")
    for file in files:
        if file.suffix not in _READERS:
            raise UserError(f"{file}: unknown ending; give .tar shards (not compressed) or .jsonl files.")
    _warn_of_gaps(files)
    return files


def _warn_of_gaps(files: list[Path]) -> None:
    matches = [match for match in (_NUMBERED.match(str(file)) for file in files) if match]
    for stem in {match.group(1) for match in matches}:
        numbers = sorted(int(match.group(2)) for match in matches if match.group(1) == stem)
        absent = sorted(set(range(numbers[0], numbers[-1])) - set(numbers))
        if absent and len(numbers) > 1:
            _log.warning("%s*: shard %d is missing between its neighbours; reading the rest", stem, absent[0])
