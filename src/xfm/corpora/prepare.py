"""From a published corpus to shards in place: plan, look, join, write, finish.

Everything is made beside the target, in a hidden folder that all processes share: units of work leave
    markers there,
so that whatever ends them, the same command goes on. The target appears at once, when the last unit is made.
"""

import shutil
import sys
from contextlib import nullcontext
from pathlib import Path

from xfm.corpora.bad_records import BadRecords
from xfm.corpora.corpus_manifest import NAME, CorpusManifest, manifest_of, prepared_mark
from xfm.corpora.finishing import DAMAGED, put_in_place, shard_names
from xfm.corpora.kept import require_kept
from xfm.corpora.looking import LookUnits, join
from xfm.corpora.plan import PreparationPlan, find_plan, load_evaluated
from xfm.corpora.preparation import Preparation
from xfm.corpora.shard_units import ShardMark, ShardUnits
from xfm.data.sources.shard_index import INDEX
from xfm.engines.array import ArrayMember
from xfm.engines.base import Executor, missing
from xfm.engines.running import run_missing
from xfm.errors import UserError, amount, printable
from xfm.files import read_json_object, writing
from xfm.locks import locked


def prepare(
    preparation: Preparation, engine: Executor, progress: bool = True, force: bool = False
) -> CorpusManifest | None:
    """Prepare a corpus, or go on with it.

    Args:
        preparation: what is to be made.
        engine: who does the work. Of a member of an array, the share is done, and whoever comes when all is
            made puts it in place.
        progress: show bars.
        force: throw away what other settings have made, in the target, too.

    Returns:
        The manifest; None where other members of an array have not done their share.

    Raises:
        UserError: the corpus is not there or damaged, the target holds something else, or cannot be written.
    """
    preparation.check()
    reader = preparation.reader()
    mark = preparation.mark(reader)
    shared = isinstance(engine, ArrayMember)
    with nullcontext() if shared else locked(preparation.target, beside=True):
        if prepared_mark(preparation.target) == mark:
            shutil.rmtree(preparation.work, ignore_errors=True)  # of a run that was killed at its very end
            return load_manifest(preparation.target)
        require_target(preparation.target, force)
        if force and not shared:
            shutil.rmtree(preparation.work, ignore_errors=True)
        plan = find_plan(preparation, reader, mark)
        _tell_unread(preparation, plan)
        if not _worked(preparation, plan, engine, progress):
            # Another member may have put it in place meanwhile, and cleared the markers away.
            return load_manifest(preparation.target) if prepared_mark(preparation.target) == mark else None
        with locked(preparation.target, beside=True) if shared else nullcontext():
            if prepared_mark(preparation.target) == mark:  # another member was faster
                return load_manifest(preparation.target)
            return _finished(preparation, plan, reader.licence)


def load_manifest(folder: Path) -> CorpusManifest:
    """The manifest of a prepared corpus; raises UserError."""
    try:
        found = CorpusManifest(**read_json_object(folder / NAME))
        require_kept(found)
    except TypeError as error:
        raise UserError(
            f"{folder / NAME} is damaged, or of another version ({error}); prepare the corpus again"
        ) from None
    return found


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


def _tell_unread(preparation: Preparation, plan: PreparationPlan) -> None:
    """Say which pictures of evaluations could not be read, so that nobody takes them for left out."""
    unread = load_evaluated(plan).unread if preparation.config.evaluation else {}
    if unread:
        first, reason = next(iter(unread.items()))
        print(
            f"Note: {amount(len(unread), 'picture')} of --evaluation cannot be read, and known by name at "
            "most: " + printable(f"{first} ({reason})"),
            file=sys.stderr,
            flush=True,
        )


def _worked(preparation: Preparation, plan: PreparationPlan, engine: Executor, progress: bool) -> bool:
    """Do this engine's share of all passes; whether every unit is made."""
    if preparation.config.looks_first:
        looks = LookUnits(preparation, plan)
        run_missing(looks, len(plan.pieces), engine, "looking at records", progress, unit="shard")
        if missing(looks, len(plan.pieces)):
            return False
        join(preparation, plan)
    shards, bad = ShardUnits(preparation, plan), BadRecords(preparation.max_bad)
    for number in range(len(plan.pieces)):
        if shards.is_made(number):
            bad.add(ShardMark.load(shards.marker(number)))

    def after(number: int) -> None:
        bad.add(ShardMark.load(shards.marker(number)))

    run_missing(shards, len(plan.pieces), engine, "writing shards", progress, after, "shard")
    return not missing(shards, len(plan.pieces))


def _finished(preparation: Preparation, plan: PreparationPlan, licence: str) -> CorpusManifest:
    shards, bad = ShardUnits(preparation, plan), BadRecords(preparation.max_bad)
    marks = [ShardMark.load(shards.marker(number)) for number in range(len(plan.pieces))]
    for mark in marks:
        bad.add(mark)
    bad.check_share()
    names = shard_names(preparation, marks)
    manifest = manifest_of(preparation, licence, plan.mark, marks, names)
    if not names:
        reasons = ", ".join(f"{count:,} {reason}" for reason, count in manifest.left_out.items())
        raise UserError(
            f"{preparation.source}: nothing is left of the corpus ({reasons or 'it holds no records'}); "
            "check the options"
        )
    with writing(preparation.target, "and run the same command again"):
        put_in_place(shards, marks, names, manifest)
    return manifest
