"""Rows answered in units by an executor, and joined when all are done.

Work lies in a hidden folder beside the target, which all processes share; the target appears whole at the
end.
"""

import contextlib
import hashlib
import json
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from xfm.config.inference import VectorFormat
from xfm.core.errors import UserError
from xfm.core.files import (
    clear_leftovers,
    drafting,
    read_json_or_nothing,
    replace_folder,
    write_text,
    writing,
)
from xfm.core.results_folder import free_name
from xfm.data.skipped import SkippedRecords
from xfm.executors.executor import Executor
from xfm.executors.sharded_map import AGAIN, ShardedMap, complete, find_plan, whole_file
from xfm.inference.answer_file import ROW, bad_file, require_own, settings_file
from xfm.inference.prediction import PredictionCounts, refuse_to_overwrite
from xfm.inference.row_sources import FolderRows
from xfm.inference.row_units import NAMES, SUFFIXES, RowMark, RowWork, answer_unit
from xfm.reports.scores import as_json

VECTORS = "_vectors.json"
BAD = "_bad.jsonl"
"""Readers of folders of Parquet files pass over names that begin so."""


class PartsTarget:
    """The target of parts: a file of answers as `predict` writes it, or a folder of vectors."""

    def __init__(self, path: Path, form: VectorFormat | None = None) -> None:
        self.path, self.form, self._is_file = path, form, form is None
        self.work = path.with_name(f".{path.name}.working")  # one name for all processes
        self.bad = bad_file(path) if self._is_file else path / BAD  # the log of rows without an answer

    def finished(self, mark: str) -> PredictionCounts | None:
        """The outcome, if the target is there with these settings."""
        place = settings_file(self.path) if self._is_file else self.path / VECTORS
        told = read_json_or_nothing(place) if self.path.exists() else {}
        with contextlib.suppress(TypeError, KeyError, AttributeError):  # somebody has changed it
            if (found := told.get("units", {})).get("mark") == mark:
                totals = {name: value for name, value in found["totals"].items() if name != "rows"}
                return PredictionCounts(before=totals.pop("answered"), answered=0, **totals)
        return None

    def finish(
        self, units: ShardedMap[RowMark], logged: list[str], rows: list[int], told: dict[str, Any]
    ) -> None:
        """Put the parts of finished units in place, with the log lines and settings."""
        log = "".join(f"{line}\n" for line in logged)
        with writing(self.path, AGAIN):
            if self._is_file:
                with whole_file(self.path) as draft, draft.open("wb") as out:
                    for number in range(units.count):
                        with units.file(number, ".part.jsonl").open("rb") as part:
                            shutil.copyfileobj(part, out, 1 << 20)
                    out.flush()
                    if logged:
                        write_text(self.bad, log)
                    write_text(settings_file(self.path), as_json(told))
                return
            with drafting(self.path) as draft:
                files: dict[str, int] = {}
                for number, count in enumerate(rows):
                    for suffix in SUFFIXES[self.form]:
                        name = f"{number:06d}{suffix}"
                        shutil.copyfile(units.file(number, f".part{suffix}"), draft / name)
                        files[name] = count
                if logged:
                    write_text(draft / BAD, log)
                write_text(draft / VECTORS, as_json({"files": files, **told}))
                replace_folder(draft, self.path)


def _free_file(path: Path, restart: bool) -> None:
    if not os.path.lexists(path):
        return
    if path.is_symlink() or not path.is_file():  # the file is renamed to, and would replace it
        raise UserError(f"{path} is a folder, a link or a pipe: choose a file for the answers")
    require_own(path)
    if not restart:
        raise UserError(
            f"{path} holds answers of other settings, or of a run without units: name another file, "
            "or begin again with --restart"
        )
    with writing(path, AGAIN):
        for one in (path, settings_file(path), bad_file(path)):
            one.unlink(missing_ok=True)


def _free_folder(path: Path, restart: bool) -> None:
    if path.parent.is_dir():
        clear_leftovers(path.parent, path.name)
    if path.exists() and not path.is_dir():
        raise UserError(f"{path} is a file: choose a folder for the vectors")
    names = {one.name for one in path.iterdir()} if path.exists() else set[str]()
    if not names:
        return
    own = {VECTORS, BAD, *read_json_or_nothing(path / VECTORS).get("files", {})}
    if VECTORS not in names or names - own:
        other = min(names - own) if names - own else min(names)
        raise UserError(
            f"{path} holds {other}, which is none of `xfm embed`'s files: choose another folder, "
            f"such as {free_name(path)}"
        )
    if not restart:
        raise UserError(f"{path} holds vectors of other settings: choose another folder, or --restart")
    with writing(path, AGAIN):
        shutil.rmtree(path)


def answer_together(
    work: RowWork,
    target: PartsTarget,
    executor: Executor,
    unit_rows: int,
    *,
    max_bad: int | None = None,
    restart: bool = False,
    progress: bool = False,
) -> PredictionCounts | None:
    """Answer rows in units, or go on; None where other tasks of an array have not done their share.
    UserError: more than `max_bad` rows without an answer, a target with other contents, or unreadable
    files."""
    settings = {"unit_rows": unit_rows, "form": target.form or "lines", **work.settings()}
    mark = hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()
    refuse_to_overwrite([work.source], target.path)
    plans: list[dict[str, Any]] = []
    bad, now = SkippedRecords(max_bad), 0

    def note(_: int, one: RowMark) -> None:
        nonlocal now
        now += one.answered
        _note(bad, one)

    def units() -> ShardedMap[RowMark]:
        starts = tuple(plans[0]["starts"])
        answer = partial(answer_unit, work, target.work, starts, target.form)
        return ShardedMap(target.work, "made", len(starts), RowMark, answer)

    def run() -> bool:
        # Refuse a target that would be lost; with `restart`, remove one of our own.
        (_free_folder if target.form else _free_file)(target.path, restart)
        if restart:
            shutil.rmtree(target.work, ignore_errors=True)
        discard = "throw it away with --restart, without --array"
        plans.append(find_plan(target.work, mark, partial(_make_plan, work, unit_rows), discard))
        for one in units().marks():
            _note(bad, one)
        return units().run(executor, work.task, progress, note)

    def finish() -> PredictionCounts:
        rows, marks = plans[0]["rows"], [*units().marks()]
        flaws = [one for each in marks for one in each.bad]
        for each in marks:
            _note(bad, each)
        bad.check_share(str(work.source), rows, len(flaws))
        first = f"{flaws[0][1]}: {flaws[0][2]}" if flaws else ""
        answered = sum(each.answered for each in marks)
        totals = {"rows": rows, "answered": answered, "skipped": len(flaws), "first_bad": first}
        logged = [json.dumps({ROW: number, "error": f"{place}: {reason}"}) for number, place, reason in flaws]
        told = {**settings, "units": {"mark": mark, "totals": totals}}
        target.finish(units(), logged, [each.answered for each in marks], told)
        return PredictionCounts(0, answered, len(flaws), first)

    finished = partial(target.finished, mark)
    found = complete(target.path, target.work, executor, finished, run, finish, anew=restart)
    return None if found is None else replace(found, answered=now, before=found.before - now)


def _make_plan(work: RowWork, unit_rows: int, draft: Path) -> dict[str, Any]:
    rows = work.rows()
    starts, total = rows.starts(unit_rows)
    if not total:
        raise UserError(f"{work.source} holds no rows; check the path")
    if isinstance(rows, FolderRows):
        SkippedRecords().folder(rows.report)
        write_text(draft / NAMES, json.dumps(rows.names))
    return {"rows": total, "starts": starts}


def _note(bad: SkippedRecords, mark: RowMark) -> None:
    for _, place, reason in mark.bad:
        bad.add(place, reason)
