"""Rows answered by whoever does the units, and put together when all are done.

Everything is made beside the target, in a hidden folder that all processes share. The target appears whole,
when the last unit is done.
"""

import json
import shutil
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from xfm.data.left_out import LeftOut
from xfm.errors import UserError
from xfm.executors.executor import Executor
from xfm.executors.sharded_map import ShardedMap, complete, find_plan
from xfm.files import write_text
from xfm.inference.distributed.row_units import NAMES, RowMark, row_units
from xfm.inference.distributed.row_work import RowWork, settings_mark
from xfm.inference.distributed.targets import PartsTarget, RowTotals
from xfm.inference.predict.output import ROW
from xfm.inference.predict.sources import FolderRows
from xfm.inference.predict.whole_files import Outcome, refuse_to_overwrite


def answer_together(
    work: RowWork,
    target: PartsTarget,
    executor: Executor,
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
        executor: who does the units; see `complete`.
        unit_rows: rows of a unit.
        max_bad: rows that may have no answer, see `LeftOut`.
        restart: throw away what is there.
        progress: show a bar.

    Returns:
        What was done; None where other tasks of an array have not done their share.

    Raises:
        UserError: too many rows cannot be answered, the target holds something else, or something cannot be
            read or written.
    """
    settings = {"unit_rows": unit_rows, "form": target.form.value, **work.settings()}
    mark = settings_mark(settings)
    refuse_to_overwrite([work.source], target.path)
    plans: list[dict[str, Any]] = []
    bad, now = LeftOut(max_bad), 0

    def note(_: int, one: RowMark) -> None:
        nonlocal now
        now += one.answered
        _note(bad, one)

    def units() -> ShardedMap[RowMark]:
        return row_units(work, target.work, plans[0]["starts"], target.form)

    def run() -> bool:
        target.require_free(restart)
        if restart:
            shutil.rmtree(target.work, ignore_errors=True)
        discard = "throw it away with --restart, without --array"
        plans.append(find_plan(target.work, mark, partial(_make_plan, work, unit_rows), discard))
        for one in units().marks():
            _note(bad, one)
        return units().run(executor, work.task, progress, note)

    def finish() -> RowTotals:
        return _finish(units(), plans[0]["rows"], work.source, target, bad, settings, mark)

    finished = partial(target.finished, mark)
    totals = complete(target.path, target.work, executor, finished, run, finish, anew=restart)
    if totals is None:
        return None
    before = totals.answered - now
    return Outcome(now, before, totals.skipped, totals.partial, totals.first_bad)


def _make_plan(work: RowWork, unit_rows: int, draft: Path) -> dict[str, Any]:
    rows = work.rows()
    starts, total = rows.starts(unit_rows)
    if not total:
        raise UserError(f"{work.source} holds no rows; check the path")
    if isinstance(rows, FolderRows):
        if rows.report:
            LeftOut().folder(rows.report)
        write_text(draft / NAMES, json.dumps(rows.names))
    return {"rows": total, "starts": starts}


def _note(bad: LeftOut, mark: RowMark) -> None:
    for _, place, reason in mark.bad:
        bad.add(place, reason)


def _finish(
    units: ShardedMap[RowMark],
    rows: int,
    source: Path,
    target: PartsTarget,
    bad: LeftOut,
    settings: dict[str, Any],
    mark: str,
) -> RowTotals:
    marks = [*units.marks()]
    flaws = [one for each in marks for one in each.bad]
    for each in marks:
        _note(bad, each)
    bad.check_share(str(source), rows, len(flaws))
    first = f"{flaws[0][1]}: {flaws[0][2]}" if flaws else ""
    answered, partly = sum(each.answered for each in marks), sum(each.partial for each in marks)
    totals = RowTotals(rows, answered, len(flaws), partly, first)
    logged = [json.dumps({ROW: number, "error": f"{place}: {reason}"}) for number, place, reason in flaws]
    told = {**settings, "units": {"mark": mark, "totals": asdict(totals)}}
    target.finish(units, logged, [each.answered for each in marks], told)
    return totals
