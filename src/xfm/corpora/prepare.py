"""From a published corpus to shards in place: plan, look, join, write, finish.

Everything is made beside the target, in a hidden folder that all processes share: units of work leave marks
there, so that whatever ends them, the same command goes on. The target appears at once, when the last unit is
done.
"""

import shutil
import sys
from pathlib import Path

from xfm.corpora.bad_records import BadRecords
from xfm.corpora.corpus_manifest import NAME, CorpusManifest, manifest_of, prepared_mark
from xfm.corpora.finishing import DAMAGED, put_in_place, shard_names
from xfm.corpora.looking import join, looks_of
from xfm.corpora.plan import PreparationPlan, plan_of
from xfm.corpora.preparation import Preparation
from xfm.corpora.shard_units import shards_of
from xfm.data.sources.shard_index import INDEX
from xfm.errors import UserError, amount, printable
from xfm.executors.executor import Executor
from xfm.executors.sharded_map import AGAIN, complete, read_record
from xfm.files import writing


def prepare(
    preparation: Preparation, executor: Executor, progress: bool = True, force: bool = False
) -> CorpusManifest | None:
    """Prepare a corpus, or go on with it.

    Args:
        preparation: what is to be made.
        executor: who does the work; see `complete`.
        progress: show bars.
        force: throw away what other settings have made, in the target, too.

    Returns:
        The manifest; None where other tasks of an array have not done their share.

    Raises:
        UserError: the corpus is not there or damaged, the target holds something else, or cannot be written.
    """
    preparation.check()
    reader, target = preparation.reader(), preparation.target
    mark, licence = preparation.mark(reader), reader.licence
    plans: list[PreparationPlan] = []

    def finished() -> CorpusManifest | None:
        return load_manifest(target) if prepared_mark(target) == mark else None

    def run() -> bool:
        require_target(target, force)
        if force:
            shutil.rmtree(preparation.work, ignore_errors=True)
        plans.append(plan_of(preparation, reader, mark))
        _tell_unread(plans[0])
        return _run(plans[0], executor, progress)

    def finish() -> CorpusManifest:
        return _finish(plans[0], mark, licence)

    return complete(target, preparation.work, executor, finished, run, finish)


def load_manifest(folder: Path) -> CorpusManifest:
    """The manifest of a prepared corpus; raises UserError."""
    return read_record(folder / NAME, CorpusManifest, "prepare the corpus again")


def require_target(target: Path, force: bool) -> None:
    """Refuse a target that would be lost.

    Raises:
        UserError: it is no folder, holds something else than a corpus, or one that nobody wants to replace.
    """
    if target.exists() and not target.is_dir():
        raise UserError(f"{target} is a file: choose a folder for the shards")
    names = {path.name for path in target.iterdir()} if target.exists() else set[str]()
    if not names:
        return
    if NAME not in names:
        raise UserError(f"{target} is not empty and holds no {NAME}: choose another folder for the shards")
    manifest = load_manifest(target)
    if others := sorted(names - {NAME, DAMAGED, INDEX} - {one["name"] for one in manifest.shards}):
        raise UserError(
            f"{target} holds {others[0]} beside the corpus, which preparing it anew would remove: move that "
            "elsewhere, or choose another folder"
        )
    if not force:
        raise UserError(
            f"{target} holds {manifest.corpus} of other settings or files: choose another folder, or replace "
            "it with --force"
        )


def _tell_unread(plan: PreparationPlan) -> None:
    """Say which pictures of evaluations could not be read, so that nobody takes them for left out."""
    unread = plan.evaluated().unread if plan.preparation.config.evaluation else {}
    if unread:
        first, reason = next(iter(unread.items()))
        print(
            f"Note: {amount(len(unread), 'picture')} of --evaluation cannot be read, and known by name at "
            "most: " + printable(f"{first} ({reason})"),
            file=sys.stderr,
            flush=True,
        )


def _run(plan: PreparationPlan, executor: Executor, progress: bool) -> bool:
    """Do the executor's share of all passes; whether every unit is done."""
    if plan.preparation.config.looks_first:
        looks = looks_of(plan)
        if not looks.run(executor, "looking at records", progress, unit="shard"):
            return False
        join(looks, plan)
    shards, bad = shards_of(plan), BadRecords(plan.preparation.max_bad)
    for mark in shards.marks():
        bad.add(mark)
    return shards.run(executor, "writing shards", progress, lambda _, mark: bad.add(mark), "shard")


def _finish(plan: PreparationPlan, mark: str, licence: str) -> CorpusManifest:
    preparation, shards = plan.preparation, shards_of(plan)
    marks, bad = [*shards.marks()], BadRecords(preparation.max_bad)
    for one in marks:
        bad.add(one)
    bad.check_share()
    names = shard_names(preparation, marks)
    manifest = manifest_of(preparation, licence, mark, marks, names)
    if not names:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in manifest.left_out.items())
        raise UserError(
            f"{preparation.source}: nothing is left of the corpus ({reasons or 'it holds no records'}); "
            "check the options"
        )
    with writing(preparation.target, AGAIN):
        put_in_place(shards, marks, names, manifest, preparation.target)
    return manifest
