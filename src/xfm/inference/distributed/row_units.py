"""The answering of rows, a unit of work each: a run of rows becomes part files."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from xfm.errors import printable
from xfm.executors.sharded_map import PLAN, ShardedMap, plan_id
from xfm.files import MAX_LOG, read_text, write_data
from xfm.inference.base import Pipeline
from xfm.inference.distributed.part_files import Answered, PartForm, part_files
from xfm.inference.distributed.row_work import RowWork
from xfm.inference.predict.answering import answered_rows
from xfm.inference.predict.reading import CutRows, InputRow
from xfm.inference.threads import one_thread

NAMES = "names.json"


@dataclass
class RowMark:
    """What became of the rows of a unit.

    Attributes:
        answered: rows.
        partial: rows that were answered by a picture of which a part only could be decoded.
        bad: number, place and flaw of the rows that could not be answered.
    """

    answered: int = 0
    partial: int = 0
    bad: list[list[Any]] = field(default_factory=list)


def row_units(work: RowWork, folder: Path, starts: Sequence[int], form: PartForm) -> ShardedMap[RowMark]:
    """The units of some rows.

    Args:
        work: what is answered.
        folder: of the work; its plan holds the names of a folder's pictures.
        starts: number of the first row of each unit.
        form: of the part files.
    """
    function = partial(_answer, work, folder, tuple(starts), form)
    return ShardedMap(folder, "made", len(starts), RowMark, function)


def _answer(
    work: RowWork, folder: Path, starts: tuple[int, ...], form: PartForm, number: int, stem: Path
) -> RowMark:
    pipe, rows, by_name = _opened(work, folder)
    mark, answers = RowMark(), list[Answered]()

    def skip(row: InputRow, reason: str) -> bool:
        mark.bad.append([row.number, printable(row.place), printable(reason)])
        return True

    part = rows.part(starts[number], starts[number + 1] if number + 1 < len(starts) else None)
    with one_thread(pipe.engine.device):
        for row, answer, warning in answered_rows(pipe, part, work.options, skip, None):
            answers.append(Answered(row.number, row.kept, answer, warning))
            mark.partial += warning is not None
    mark.answered = len(answers)
    width = pipe.engine.model.config.vector_width
    for suffix, data in part_files(form, answers, work.keep, by_name, width).items():
        write_data(stem.with_suffix(f".part{suffix}"), data)
    return mark


_open: tuple[Any, tuple[Pipeline[Any, Any], CutRows, bool]] | None = None
"""What the units of this process have read: the model once, and tables up to where the last unit ended."""


def _opened(work: RowWork, folder: Path) -> tuple[Pipeline[Any, Any], CutRows, bool]:
    """The model, the rows, and whether these are the pictures of a folder."""
    global _open
    key = work, plan_id(folder)
    if _open is None or _open[0] != key:
        path = folder / PLAN / NAMES
        names = json.loads(read_text(path, MAX_LOG)) if path.exists() else None
        _open = key, (work.pipe(), work.rows(names), names is not None)
    return _open[1]
