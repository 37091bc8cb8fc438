"""Units of rows: a run of rows becomes part files."""

import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from xfm.config.inference import VectorFormat
from xfm.config.plain import to_plain
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError, explained, import_extra, printable
from xfm.core.files import MAX_LOG, read_text, write_data
from xfm.core.paths import home_path
from xfm.core.results_folder import digest, model_mark
from xfm.data.tables import ColumnMap
from xfm.data.tables.records import stored_size
from xfm.executors.sharded_map import PLAN
from xfm.inference.answer_file import IMAGE, ROW, answer_line
from xfm.inference.base import Pipeline
from xfm.inference.engine import one_thread
from xfm.inference.pipeline import pipeline
from xfm.inference.prediction import answered_rows
from xfm.inference.row_sources import FolderRows, InputRow, ReadOptions, TableRows, known_path, open_rows
from xfm.models.resolve import find_model, packaged


@dataclass(frozen=True)
class RowWork:
    """Rows, a task and its model. Machines see files and models under the same paths. `precision` is float32
    by torch if not given; `readers` are threads of each process; `root` is where paths of pictures begin, by
    default the table's folder."""

    task: str
    model: str
    source: Path
    options: Any = None
    columns: str = ""
    keep: tuple[str, ...] = ()
    root: Path | None = None
    device: str = "auto"
    precision: str | None = None
    batch_size: int = 32
    allow_urls: Sequence[str] = field(default_factory=tuple)
    readers: int | None = None

    def rows(self, names: Sequence[str] | None = None) -> TableRows | FolderRows:
        """The rows; of a folder the named pictures, where names are known."""
        fields, columns = task_spec(self.task).inputs, ColumnMap.parse(self.columns)
        reading = ReadOptions(fields, columns, self.keep, self.root, bool(self.allow_urls))
        if names is not None:
            return FolderRows(self.source, reading, names)
        return open_rows(self.source, reading)

    def settings(self) -> dict[str, Any]:
        """Everything that answers depend on, as plain values, as `predict` keeps it."""
        # Digest of its weights, or of names and sizes of an exported model's files.
        place = find_model(self.model)
        mark = model_mark(place)
        if not mark and place.is_dir():
            mark = digest((path.name, path.stat().st_size) for path in sorted(place.iterdir()))
        size = {} if self.source.is_dir() else {"bytes": stored_size(self.source)}
        return {
            "task": task_spec(self.task).name,
            "model": mark,
            "input": known_path(self.source) | size,
            "columns": dict(ColumnMap.parse(self.columns).columns),
            "keep": list(self.keep),
            "options": to_plain(self.options),
            "gallery": None,
            "precision": self.precision or "fp32",
            "batch_size": self.batch_size,
        }


def everywhere(model: str) -> str:
    """A model reference that holds in other folders; UserError if there is no such model."""
    find_model(model)
    place = home_path(model)
    return str(place.absolute()) if place.exists() and packaged(model) is None else model


def require_shareable(spec: TaskSpec, source: object, draw: object) -> None:
    """Refuse retrieval, inputs that are no file, and drawing, which several processes cannot share."""
    if spec.gallery:
        raise UserError(
            f"{spec.name} searches in a gallery, which every process would encode: leave out --engine, "
            "--array and --processes, or build a collection (`xfm index build`) and search in that"
        )
    if not isinstance(source, Path):
        raise UserError(
            "one input, or standard input, is no work for several processes: leave out --engine, --array and "
            "--processes, or give a table or folder with --input"
        )
    if draw is not None:
        raise UserError("--draw is for one process: leave it out, or --engine, --array and --processes")


VECTOR = "vector"


Answered = tuple[InputRow, Any]
"""A row and its answer."""
SUFFIXES = {VectorFormat.PARQUET: (".parquet",), VectorFormat.NPY: (".npy", ".rows.jsonl"), None: (".jsonl",)}
"""Of a part's files: Parquet with vectors, NumPy and lines of JSON, or the lines of `xfm predict`."""


def part_files(
    form: VectorFormat | None, answers: Sequence[Answered], keep: Sequence[str], by_name: bool, width: int
) -> list[bytes]:
    """A part's files, the same bytes for the same answers; vectors [width] if there is a format of them."""
    heads = [(None if by_name else row.number, row.kept) for row, _ in answers]
    if form is None:
        told = zip(heads, answers, strict=True)
        lines = (answer_line(*head, prediction=answer) + b"\n" for head, (_, answer) in told)
        return [b"".join(lines)]
    vectors, out = np.zeros((len(answers), width), np.float32), io.BytesIO()
    for place, (_, answer) in enumerate(answers):
        vectors[place] = answer
    if form is VectorFormat.NPY:
        np.save(out, vectors)
        return [out.getvalue(), b"".join(answer_line(*head) + b"\n" for head in heads)]
    without = "Parquet (choose --format npy to do without)"
    arrow, parquet = (import_extra(one, without, "tables") for one in ("pyarrow", "pyarrow.parquet"))
    columns: dict[str, Any] = {}
    if not by_name:
        columns[ROW] = arrow.array([row.number for row, _ in answers], arrow.int64())
    for name in ([IMAGE] if by_name else []) + [*keep]:
        columns[name] = arrow.array([_text(row.kept.get(name)) for row, _ in answers], arrow.string())
    flat = arrow.array(vectors.reshape(-1), arrow.float32())
    columns[VECTOR] = arrow.FixedSizeListArray.from_arrays(flat, width)
    parquet.write_table(arrow.table(columns), out)
    return [out.getvalue()]


def _text(value: Any) -> str | None:
    if value is None:
        return None
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
    return text.encode(errors="backslashreplace").decode()


NAMES = "names.json"


@dataclass
class RowMark:
    """Completion mark of a unit: rows answered, and (number, place, flaw) of the bad."""

    answered: int = 0
    bad: list[list[Any]] = field(default_factory=list)


def answer_unit(
    work: RowWork, folder: Path, starts: tuple[int, ...], form: VectorFormat | None, number: int, stem: Path
) -> RowMark:
    """Answer the rows of a unit, from one of the numbers `starts` to the next, into part files; the plan in
    `folder` names a folder's pictures."""
    pipe, rows, by_name = _opened(work, folder)
    mark, answers = RowMark(), list[Answered]()

    def skip(row: InputRow, reason: str) -> bool:
        mark.bad.append([row.number, printable(row.place), printable(reason)])
        return True

    part = rows.part(starts[number], starts[number + 1] if number + 1 < len(starts) else None)
    with one_thread(pipe.engine.device):
        answers += answered_rows(pipe, part, work.options, skip, None)
    mark.answered = len(answers)
    width = pipe.engine.model.config.projection
    files = part_files(form, answers, work.keep, by_name, width)
    for suffix, data in zip(SUFFIXES[form], files, strict=True):
        write_data(stem.with_suffix(f".part{suffix}"), data)
    return mark


_open: tuple[Any, tuple[Pipeline, TableRows | FolderRows, bool]] | None = None
"""What the units of this process have read: the model once, and tables up to where the last unit ended."""


def _opened(work: RowWork, folder: Path) -> tuple[Pipeline, TableRows | FolderRows, bool]:
    global _open
    plan = (folder / PLAN).stat()  # another one may have been there before, in this process's life
    key = work, str(folder), plan.st_ino, plan.st_mtime_ns
    if _open is None or _open[0] != key:
        path = folder / PLAN / NAMES
        with explained(f"{path} is damaged", f"remove {folder}", ValueError):
            names = json.loads(read_text(path, MAX_LOG)) if path.exists() else None
        pipe = pipeline(
            work.task,
            work.model,
            device=work.device,
            precision=work.precision or "fp32",
            batch_size=work.batch_size,
            allow_urls=[*work.allow_urls],
            readers=work.readers,
        )
        _open = key, (pipe, work.rows(names), names is not None)
    return _open[1]
