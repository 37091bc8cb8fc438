"""The last step of a preparation: shards under their names, the index, the manifest, and the folder in place.

It can be ended at any moment and begun again: a shard lies under its old name or under its new one.
"""

import json
import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from xfm.corpora.corpus_manifest import NAME, CorpusManifest
from xfm.corpora.preparation import Preparation
from xfm.corpora.shard_units import ShardMark
from xfm.data.sources.shard_index import open_index, write_index
from xfm.errors import UserError
from xfm.executors.sharded_map import ShardedMap
from xfm.files import replace_folder, sync_folder, write_text

DAMAGED = "damaged.json"
"""Beside the shards: name and flaw of each damaged record. No corpus, whose files end in .tar or .jsonl."""


def shard_names(preparation: Preparation, marks: Sequence[ShardMark]) -> list[str]:
    """The names of the shards, numbered without gaps: a piece of which nothing was left has none."""
    count = sum(mark.written > 0 for mark in marks)
    width = max(5, len(str(count - 1)))
    return [f"{preparation.corpus.value}-{number:0{width}d}.tar" for number in range(count)]


def put_in_place(
    shards: ShardedMap[ShardMark],
    marks: Sequence[ShardMark],
    names: Sequence[str],
    manifest: CorpusManifest,
    target: Path,
) -> None:
    """Move the shards into a folder that then becomes the target.

    Args:
        shards: the units of work.
        marks: theirs.
        names: of the shards of those that have one.
        manifest: of all.
        target: folder of the corpus.

    Raises:
        UserError: a shard is not what its mark says.
    """
    ready = shards.work / "ready"
    ready.mkdir(exist_ok=True)
    units = [number for number, mark in enumerate(marks) if mark.written]
    for number, name in zip(units, names, strict=True):
        if (made := shards.file(number, ".tar")).exists():
            os.replace(made, ready / name)
        path = ready / name
        if not path.exists() or path.stat().st_size != marks[number].bytes:
            for damaged in (path, shards.mark_file(number)):
                damaged.unlink(missing_ok=True)
            raise UserError(
                f"{path} is not as it was written: run the same command again, which makes it anew"
            )
    entries = (
        replace(entry, name=name)
        for number, name in zip(units, names, strict=True)
        for entry in open_index(shards.file(number, ".xfm")).shards()
    )
    write_index(ready, entries)
    if damaged := [row for mark in marks for row in mark.bad]:
        write_text(ready / DAMAGED, json.dumps(damaged, indent=0, ensure_ascii=False) + "\n")
    write_text(ready / NAME, manifest.to_json())
    sync_folder(ready)
    replace_folder(ready, target)
