"""The answering of rows, a unit of work each: a run of rows becomes part files."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xfm.core.errors import UserError, printable
from xfm.core.files import MAX_LOG, read_text, write_data
from xfm.executors.sharded_map import PLAN, ShardedMap, plan_id
from xfm.inference.base import Pipeline
from xfm.inference.distributed.row_work import RowWork
from xfm.inference.engine import one_thread
from xfm.inference.predict.output import IMAGE, ROW, WARNING, answer_line
from xfm.inference.predict.prediction import answered_rows
from xfm.inference.predict.reading import CutRows, InputRow

VECTOR = "vector"


class PartForm(StrEnum):
    """Of part files.

    lines: lines of JSON, as `xfm predict` writes them.
    parquet: the columns of rows and vectors.
    npy: an array of vectors, and lines of JSON that say whose they are.
    """

    LINES = "lines"
    PARQUET = "parquet"
    NPY = "npy"

    @property
    def suffixes(self) -> tuple[str, ...]:
        """Of the files of a part."""
        return {"lines": (".jsonl",), "parquet": (".parquet",), "npy": (".npy", ".rows.jsonl")}[self.value]


Answered = tuple[InputRow, Any, str | None]
"""A row, its answer, and what is to be said against it."""


def part_files(
    form: PartForm, answers: Sequence[Answered], keep: Sequence[str], by_name: bool, width: int
) -> dict[str, bytes]:
    """The files of a part by their suffixes; the same bytes for the same answers.

    Args:
        form: of the files.
        answers: of the part; of other forms than lines, they are vectors [E].
        keep: columns that are copied.
        by_name: whether rows are told by their pictures' names.
        width: E.

    Raises:
        UserError: pyarrow is missing.
    """
    if form is PartForm.LINES:
        lines = (answer_line(None if by_name else row.number, row.kept, *told) for row, *told in answers)
        return {".jsonl": b"".join(line + b"\n" for line in lines)}
    vectors = np.zeros((len(answers), width), np.float32)
    for place, (_, answer, _) in enumerate(answers):
        vectors[place] = answer
    if form is PartForm.PARQUET:
        return {".parquet": _parquet(answers, keep, by_name, vectors)}
    out = io.BytesIO()
    np.save(out, vectors)
    return {
        ".npy": out.getvalue(),
        ".rows.jsonl": b"".join(_whose(row, warning, by_name) for row, _, warning in answers),
    }


def _whose(row: InputRow, warning: str | None, by_name: bool) -> bytes:
    told = {} if by_name else {ROW: row.number}
    told |= {**row.kept, **({} if warning is None else {WARNING: warning})}
    return json.dumps(told, ensure_ascii=False, default=str).encode(errors="backslashreplace") + b"\n"


def _parquet(answers: Sequence[Answered], keep: Sequence[str], by_name: bool, vectors: np.ndarray) -> bytes:
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(
            "vectors as Parquet need pyarrow: pip install 'xfm[tables]', or choose --format npy"
        ) from None

    columns: dict[str, Any] = {}
    if by_name:
        columns[IMAGE] = arrow.array([_text(row.kept[IMAGE]) for row, _, _ in answers], arrow.string())
    else:
        columns[ROW] = arrow.array([row.number for row, _, _ in answers], arrow.int64())
    for name in keep:
        columns[name] = arrow.array([_text(row.kept.get(name)) for row, _, _ in answers], arrow.string())
    columns[WARNING] = arrow.array([warning for _, _, warning in answers], arrow.string())
    flat = arrow.array(vectors.reshape(-1), arrow.float32())
    columns[VECTOR] = arrow.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    out = io.BytesIO()
    parquet.write_table(arrow.table(columns), out)
    return out.getvalue()


def _text(value: Any) -> str | None:
    """A cell that is kept: every part has the same columns of texts, whatever rows hold."""
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode(errors="backslashreplace").decode()


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
            answers.append((row, answer, warning))
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
