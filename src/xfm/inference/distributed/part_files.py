"""What a unit of work writes of its answers: lines of JSON, or vectors as Parquet or NumPy's arrays."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np

from xfm.errors import UserError
from xfm.inference.predict.output import IMAGE, ROW, WARNING, answer_line

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


@dataclass(frozen=True)
class Answered:
    """A row with its answer.

    Attributes:
        number: of the row.
        kept: what is copied; of a folder, the picture's name.
        answer: of the task.
        warning: what is to be said against it.
    """

    number: int
    kept: Mapping[str, Any]
    answer: Any
    warning: str | None = None


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
        return {".jsonl": b"".join(_line(one, by_name, one.answer) for one in answers)}
    vectors = np.zeros((len(answers), width), np.float32)
    for place, one in enumerate(answers):
        vectors[place] = one.answer
    if form is PartForm.PARQUET:
        return {".parquet": _parquet(answers, keep, by_name, vectors)}
    out = io.BytesIO()
    np.save(out, vectors)
    return {".npy": out.getvalue(), ".rows.jsonl": b"".join(_whose(one, by_name) for one in answers)}


def _line(one: Answered, by_name: bool, answer: Any) -> bytes:
    return answer_line(None if by_name else one.number, one.kept, answer, one.warning) + b"\n"


def _whose(one: Answered, by_name: bool) -> bytes:
    told = {} if by_name else {ROW: one.number}
    told |= {**one.kept, **({} if one.warning is None else {WARNING: one.warning})}
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
        columns[IMAGE] = arrow.array([_text(one.kept[IMAGE]) for one in answers], arrow.string())
    else:
        columns[ROW] = arrow.array([one.number for one in answers], arrow.int64())
    for name in keep:
        columns[name] = arrow.array([_text(one.kept.get(name)) for one in answers], arrow.string())
    columns[WARNING] = arrow.array([one.warning for one in answers], arrow.string())
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
