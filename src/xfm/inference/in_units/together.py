"""Rows answered by whoever does the units, and put together when all are made.

Everything is made beside the target, in a hidden folder that all processes share: units leave markers there,
so that whatever ends them, the same command goes on. The target appears whole, when the last unit is made.
"""

import json
import shutil
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from xfm.data.left_out import LeftOut
from xfm.engines.array import ArrayMember
from xfm.engines.base import Executor, missing
from xfm.engines.running import run_missing
from xfm.engines.whole import found_or_made
from xfm.errors import UserError
from xfm.files import MAX_LOG, read_text, write_text, writing
from xfm.inference.in_units.row_units import NAMES, RowMark, RowUnits
from xfm.inference.in_units.row_work import RowWork, settings_mark
from xfm.inference.in_units.targets import PartsTarget, RowTotals
from xfm.inference.predict.output import ROW
from xfm.inference.predict.sources import FolderRows
from xfm.inference.predict.whole_files import Outcome, refuse_to_overwrite
from xfm.locks import locked

_PLAN = "plan.json"


@dataclass(frozen=True)
class RowPlan:
    """How rows are cut into units.

    Attributes:
        mark: of settings and rows.
        starts: number of the first row of each unit.
        rows: of all.
    """

    mark: str
    starts: tuple[int, ...]
    rows: int


def answer_together(
    work: RowWork,
    target: PartsTarget,
    engine: Executor,
    unit_rows: int,
    *,
    max_bad: int | None = None,
    restart: bool = False,
    progress: bool = False,
) -> Outcome | None:
    """Answer rows, or go on with that.

    Args:
        work: what is answered.
        target: where the answers end.
        engine: who does the units. Of a member of an array, the share is done, and whoever comes when all is
            made puts the parts together.
        unit_rows: rows of a unit.
        max_bad: rows that may have no answer, see `LeftOut`.
        restart: throw away what is there.
        progress: show a bar.

    Returns:
        What was done; None where other members of an array have not done their share.

    Raises:
        UserError: too many rows cannot be answered, the target holds something else, or something cannot be
            read or written.
    """
    settings = {"unit_rows": unit_rows, "form": target.form.value, **work.settings()}
    mark = settings_mark(settings)
    refuse_to_overwrite([work.source], target.path)
    shared = isinstance(engine, ArrayMember)
    with nullcontext() if shared else locked(target.path, beside=True):
        if not restart and (totals := target.finished(mark)) is not None:
            shutil.rmtree(target.work, ignore_errors=True)  # of a run that was killed at its very end
            return _outcome(totals, 0)
        target.require_free(restart)
        if restart:
            shutil.rmtree(target.work, ignore_errors=True)
        plan = _found_plan(work, target, unit_rows, mark)
        units = RowUnits(work, target.work / "plan", target.work / "made", plan.starts, target.form)
        bad = LeftOut(max_bad)
        try:
            now = _answered(units, engine, bad, progress)
        except UserError:
            # Another member of an array may have put it together meanwhile, and cleared the markers away.
            if shared and (totals := target.finished(mark)) is not None:
                return _outcome(totals, 0)
            if (
                not shared and not units.made.exists()
            ):  # it cannot be done so: the next command may be another
                shutil.rmtree(target.work, ignore_errors=True)
            raise
        if missing(units, len(units.starts)):
            return None if (totals := target.finished(mark)) is None else _outcome(totals, now)
        with locked(target.path, beside=True) if shared else nullcontext():
            totals = target.finished(mark) or _finished(units, plan, target, bad, settings)
        return _outcome(totals, now)


def _found_plan(work: RowWork, target: PartsTarget, unit_rows: int, mark: str) -> RowPlan:
    """The plan, found or made.

    Raises:
        UserError: one of other settings is under way there, or the rows cannot be read.
    """
    with writing(target.work, "and run the command again"):
        found_or_made(target.work / "plan", partial(_make_plan, work, unit_rows, mark))
    path = target.work / "plan" / _PLAN
    try:
        told = json.loads(read_text(path, MAX_LOG))
        plan = RowPlan(told["mark"], tuple(told["starts"]), told["rows"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); begin anew with --restart") from None
    if plan.mark != mark:
        raise UserError(
            f"{target.work} holds what was answered so far for {target.path}, with other settings, another "
            "model or other rows: finish that, or throw it away with --restart, without --array"
        )
    return plan


def _make_plan(work: RowWork, unit_rows: int, mark: str, draft: Path) -> None:
    rows = work.rows()
    starts, total = rows.starts(unit_rows)
    if not total:
        raise UserError(f"{work.source} holds no rows; check the path")
    if isinstance(rows, FolderRows):
        if rows.report:
            LeftOut().folder(rows.report)
        write_text(draft / NAMES, json.dumps(rows.names))
    write_text(draft / _PLAN, json.dumps({"mark": mark, "rows": total, "starts": starts}))


def _answered(units: RowUnits, engine: Executor, bad: LeftOut, progress: bool) -> int:
    """Do this engine's share; how many rows that answered.

    Raises:
        UserError: of these and those before, too many cannot be answered.
    """
    now = 0

    def count(number: int) -> None:
        nonlocal now
        mark = RowMark.load(units.marker(number))
        now += mark.answered
        _note(bad, mark)

    for number in range(len(units.starts)):
        if units.is_made(number):
            _note(bad, RowMark.load(units.marker(number)))
    run_missing(units, len(units.starts), engine, units.work.task, progress, count)
    return now


def _note(bad: LeftOut, mark: RowMark) -> None:
    for _, place, reason in mark.bad:
        bad.add(place, reason)


def _finished(
    units: RowUnits, plan: RowPlan, target: PartsTarget, bad: LeftOut, settings: dict[str, Any]
) -> RowTotals:
    marks = [RowMark.load(units.marker(number)) for number in range(len(units.starts))]
    flaws = [one for mark in marks for one in mark.bad]
    for mark in marks:
        _note(bad, mark)
    bad.check_share(str(units.work.source), plan.rows, len(flaws))
    first = f"{flaws[0][1]}: {flaws[0][2]}" if flaws else ""
    answered, partial_ones = sum(mark.answered for mark in marks), sum(mark.partial for mark in marks)
    totals = RowTotals(plan.rows, answered, len(flaws), partial_ones, first)
    logged = [json.dumps({ROW: number, "error": f"{place}: {reason}"}) for number, place, reason in flaws]
    told = {**settings, "units": {"mark": plan.mark, "totals": asdict(totals)}}
    target.finish(units, logged, [mark.answered for mark in marks], told)
    shutil.rmtree(target.work, ignore_errors=True)
    return totals


def _outcome(totals: RowTotals, now: int) -> Outcome:
    before = totals.answered - now
    return Outcome(now, before, totals.skipped, totals.partial, totals.first_bad)
