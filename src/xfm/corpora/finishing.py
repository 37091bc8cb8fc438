"""The last step of a preparation: shards under their names, the index, the manifest, and the folder in place.

It can be ended at any moment and begun again: a shard lies under its old name or under its new one.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace

from xfm.corpora.corpus_manifest import NAME, CorpusManifest
from xfm.corpora.preparation import Preparation
from xfm.corpora.shard_units import ShardMark, ShardUnits
from xfm.data.sources.shard_index import IndexedShard, open_index, write_index
from xfm.errors import UserError
from xfm.files import replace_folder, sync_folder, write_text

DAMAGED = "damaged.json"
"""Beside the shards: name and flaw of each damaged record. No corpus, whose files end in .tar or .jsonl."""


def shard_names(preparation: Preparation, marks: Sequence[ShardMark]) -> list[str]:
    """The names of the shards, numbered without gaps: a piece of which nothing was left has none."""
    count = sum(mark.written > 0 for mark in marks)
    width = max(5, len(str(count - 1)))
    return [f"{preparation.corpus.value}-{number:0{width}d}.tar" for number in range(count)]


def put_in_place(
    shards: ShardUnits, marks: Sequence[ShardMark], names: Sequence[str], manifest: CorpusManifest
) -> None:
    """Move the shards into a folder that then becomes the target, and remove what the work has left.

    Args:
        shards: the units of work.
        marks: their markers.
        names: of the shards of those that have one.
        manifest: of all.

    Raises:
        UserError: a shard is not what its marker says.
    """
    ready = shards.preparation.work / "ready"
    ready.mkdir(exist_ok=True)
    units = [number for number, mark in enumerate(marks) if mark.written]
    for number, name in zip(units, names, strict=True):
        if shards.shard(number).exists():
            os.replace(shards.shard(number), ready / name)
        path = ready / name
        if not path.exists() or path.stat().st_size != marks[number].bytes:
            for damaged in (path, shards.marker(number)):
                damaged.unlink(missing_ok=True)
            raise UserError(
                f"{path} is not as it was written: run the same command again, which makes it anew"
            )
    write_index(ready, _indexed(shards, units, names))
    if damaged := [row for mark in marks for row in mark.bad]:
        write_text(ready / DAMAGED, json.dumps(damaged, indent=0, ensure_ascii=False) + "\n")
    write_text(ready / NAME, manifest.to_json())
    sync_folder(ready)
    replace_folder(ready, shards.preparation.target)
    shutil.rmtree(shards.preparation.work, ignore_errors=True)


def _indexed(shards: ShardUnits, units: Sequence[int], names: Sequence[str]) -> Iterator[IndexedShard]:
    for number, name in zip(units, names, strict=True):
        for entry in open_index(shards.index(number)).shards():
            yield replace(entry, name=name)
