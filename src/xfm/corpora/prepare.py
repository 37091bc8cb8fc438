"""Manifest of a prepared corpus: counts, source, licence, filters, omissions, checksums of its shards."""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import PIL

from xfm.core.errors import UserError, amount
from xfm.core.files import read_json_or_nothing, replace_folder, sync_folder, write_text, writing
from xfm.corpora.passes import ShardMark, look, shards_of
from xfm.corpora.preparation import FORMAT, Preparation, PreparationPlan, plan_of
from xfm.data.sources.shard_index import INDEX, open_index, write_index
from xfm.executors.executor import Executor
from xfm.executors.sharded_map import AGAIN, ShardedMap, complete, read_record
from xfm.world.storage import require_own

NAME = "corpus.json"


@dataclass(frozen=True)
class CorpusManifest:
    """The file `corpus.json` beside the shards: version of the layout, digest of settings and inputs, name of
    the prepared folder or file, options that decide the content; records read and written; records left out,
    and parts dropped or repaired, by reason; each shard; versions of the packages that decide the bytes."""

    format: int
    corpus: str
    mark: str
    licence: str
    source: str
    settings: dict[str, Any]
    read: int
    written: int
    bytes: int
    counts: dict[str, int]
    left_out: dict[str, int]
    parts: dict[str, int]
    shards: list[dict[str, Any]]
    versions: dict[str, str]

    def summary(self) -> str:
        """A few lines for people."""
        counts = ", ".join(f"{count:,} {name}" for name, count in self.counts.items())
        records, shards = amount(self.read, "record"), amount(len(self.shards), "shard")
        lines = [f"{self.written:,} of {records} in {shards}: {counts}."]
        for title, found in (("left out", self.left_out), ("of captions and regions", self.parts)):
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in found.items())
            lines += [f"{title}: {reasons}"] if found else []
        return "\n".join(lines)


def prepared_mark(folder: Path) -> str | None:
    """Mark of the complete corpus in a folder; None without one."""
    found = read_json_or_nothing(folder / NAME)
    try:
        whole = all((folder / one["name"]).stat().st_size == one["bytes"] for one in found["shards"])
        return str(found["mark"]) if whole else None
    except (OSError, KeyError, TypeError, ValueError):  # ValueError: a name with a NUL
        return None


DAMAGED = "damaged.json"
"""Beside the shards: name and flaw of each damaged record. No corpus, whose files end in .tar or .jsonl."""


def prepare(
    preparation: Preparation, executor: Executor, progress: bool = True, force: bool = False
) -> CorpusManifest | None:
    """Prepare a corpus, or continue; None where other tasks of an array have not done their share. `force`
    discards what other settings have made, in the target, too."""
    preparation.check()
    reader, target = preparation.reader(), preparation.target
    mark, licence = preparation.mark(reader), reader.licence
    plans: list[PreparationPlan] = []

    def run() -> bool:
        held = load_manifest(target) if (target / NAME).is_file() else None
        named = [] if held is None else [str(one["name"]) for one in held.shards]
        if require_own(target, NAME, [DAMAGED, INDEX, *named], "corpus") and held is not None and not force:
            told = f"{held.corpus} of other settings or files: choose another folder"
            raise UserError(f"{target} holds {told}, or replace it with --force")
        if force:
            shutil.rmtree(preparation.work, ignore_errors=True)
        plan = plan_of(preparation, reader, mark)
        plans.append(plan)
        if preparation.config.looks_first and not look(plan, executor, progress):
            return False
        shards, total = shards_of(plan), ShardMark()

        def add(number: int, mark: ShardMark) -> None:
            total.add(mark)
            total.check(preparation.max_bad, complete=False)

        for number, made in enumerate(shards.marks()):
            add(number, made)
        return shards.run(executor, "writing shards", progress, add, "shard")

    return complete(
        target,
        preparation.work,
        executor,
        lambda: load_manifest(target) if prepared_mark(target) == mark else None,
        run,
        lambda: _finish(plans[0], mark, licence),
    )


def load_manifest(folder: Path) -> CorpusManifest:
    """Manifest of a prepared corpus."""
    return read_record(folder / NAME, CorpusManifest, "prepare the corpus again")


def _finish(plan: PreparationPlan, mark: str, licence: str) -> CorpusManifest:
    preparation, shards = plan.preparation, shards_of(plan)
    marks, total = [*shards.marks()], ShardMark()
    for one in marks:
        total.add(one)
    total.check(preparation.max_bad, complete=True)
    # Numbered without gaps: a piece of which nothing was left has none.
    count = sum(mark.written > 0 for mark in marks)
    width = max(5, len(str(count - 1)))
    names = [f"{preparation.corpus.value}-{number:0{width}d}.tar" for number in range(count)]
    manifest = CorpusManifest(
        format=FORMAT,
        corpus=preparation.corpus.value,
        mark=mark,
        licence=preparation.config.licence or licence,
        source=preparation.source.name,
        settings=preparation.settings(),
        read=total.read,
        written=total.written,
        bytes=total.bytes,
        counts=dict(sorted((+total.counts).items())),
        left_out=dict(sorted(total.left_out.items())),
        parts=dict(sorted(total.parts.items())),
        shards=[
            {"name": name, "records": one.written, "bytes": one.bytes, "sha256": one.sha256}
            for name, one in zip(names, (one for one in marks if one.written), strict=True)
        ],
        versions={"xfm": version("xfm"), "pillow": PIL.__version__},
    )
    if not names:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in manifest.left_out.items())
        why = reasons or "it holds no records"
        raise UserError(f"{preparation.source}: nothing is left of the corpus ({why}); check the options")
    with writing(preparation.target, AGAIN):
        _put_in_place(shards, marks, manifest, preparation.target)
    return manifest


def _put_in_place(
    shards: ShardedMap[ShardMark], marks: Sequence[ShardMark], manifest: CorpusManifest, target: Path
) -> None:
    """May be interrupted at any moment and repeated: a shard lies under its old name or its new one."""
    ready = shards.work / "ready"
    ready.mkdir(exist_ok=True)
    written = (number for number, mark in enumerate(marks) if mark.written)
    units = {number: one["name"] for number, one in zip(written, manifest.shards, strict=True)}
    for number, name in units.items():
        if (made := shards.file(number, ".tar")).exists():
            os.replace(made, ready / name)
        path = ready / name
        if not path.exists() or path.stat().st_size != marks[number].bytes:
            for damaged in (path, shards.file(number, ".json")):
                damaged.unlink(missing_ok=True)
            raise UserError(f"{path} is not as it was written: run the same command again to make it anew")
    entries = (
        replace(entry, name=name)
        for number, name in units.items()
        for entry in open_index(shards.file(number, ".xfm")).shards()
    )
    write_index(ready, entries)
    if damaged := [row for mark in marks for row in mark.bad]:
        write_text(ready / DAMAGED, json.dumps(damaged, indent=0, ensure_ascii=False) + "\n")
    write_text(ready / NAME, json.dumps(asdict(manifest), indent=1) + "\n")
    sync_folder(ready)
    replace_folder(ready, target)
