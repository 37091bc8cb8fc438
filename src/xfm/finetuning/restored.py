"""A fine-tuned model and new rows of its task, put together."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from xfm.config.task import TaskConfig
from xfm.core.errors import UserError, excerpt
from xfm.data.left_out import LeftOut
from xfm.data.tables import TableRow
from xfm.finetuning.session import AnyTask
from xfm.finetuning.start import LONGEST, fitting_length, text_limit
from xfm.finetuning.usable import few, first_places, readable_rows
from xfm.models.folder import Pretrained
from xfm.tasks.base import Task, TaskSettings
from xfm.tasks.cases import CellMeaning
from xfm.tasks.pictures import Pictures
from xfm.tasks.splits import SplitRows


def task_of(base: Pretrained, path: Path) -> TaskConfig:
    """What the model was fine-tuned for.

    Raises:
        UserError: nothing, or its answers have no list.
    """
    if base.task is None:
        raise UserError(
            f"{path} was not fine-tuned for a task: do that with `xfm finetune TASK --model {path} ...`, or "
            "evaluate it on the embedded data, with --world in place of --test"
        )
    told = base.task.task
    if told.spec.reads("max_answers") and not told.answers:
        raise UserError(f"{path} has no list of answers to rank; fine-tune it on questions of your own first")
    return told


def restored(
    kind: type[Task[Any, Any, Any]],
    base: Pretrained,
    pictures: Pictures,
    rows: Sequence[Any],
    settings: TaskSettings,
) -> AnyTask:
    """The task of a fine-tuned model as it was when it was saved.

    Args:
        kind: of the model's task.
        base: the model.
        pictures: as the model takes them.
        rows: what chance and constant guesses are drawn from, in the place of training rows.
        settings: batch size, seed, arithmetic and device; the longest text is the model's.
    """
    assert base.task is not None
    told = base.task.task
    labels = told.labels or tuple(str(number) for number in range(told.classes))
    limit = text_limit(base)
    fitting = fitting_length(kind, rows, base.given_tokenizer, min(limit, LONGEST))
    kept = {"head": told.head, "label_kind": told.label_kind, "threshold": told.threshold}
    settings = replace(settings, max_tokens=told.max_tokens or fitting, **kept)
    data = SplitRows(rows, labels=labels, answers=told.answers)
    task = kind(base, pictures, data, settings)
    task.finish()
    task.module.load_state_dict(base.task.state_dict())
    task.module.task = replace(task.module.task, temperature=told.temperature)
    task.module.eval()
    return task


@dataclass(frozen=True)
class NewRows:
    """The rows of a table.

    Attributes:
        table: each row as it stands, and typed.
        rows: typed, those of one picture put together where the task does that.
        places: file and row in which each picture is first named.
        numbers: of each of `rows`, where it stands in the table.
    """

    table: list[tuple[TableRow, Any]]
    rows: Sequence[Any]
    places: dict[Path, str]
    numbers: list[int]

    @classmethod
    def of(
        cls,
        kind: type[Task[Any, Any, Any]],
        table: Sequence[TableRow],
        how: CellMeaning,
        pictures: Pictures,
        left_out: LeftOut,
        progress: bool = False,
    ) -> "NewRows":
        """Typed rows, but for those of which a picture cannot be read.

        Args:
            kind: of the task.
            table: the rows as they stand.
            how: cells are meant.
            pictures: read every picture once.
            left_out: told of rows that are left out.
            progress: show a bar.

        Raises:
            UserError: a cell is wrong, or too many rows are left out; names file, row and column.
        """
        typed = readable_rows(kind, {"test": table}, how, left_out, pictures, progress)["test"]
        left_out.count(str(table[0].file), "test", len(table), len(table) - len(typed))
        merged = kind.merge([converted for _, converted in typed])
        numbers = [row.number for row, _ in typed]
        if len(merged) < len(typed):
            first = {one: row.number for row, own in reversed(typed) for one in kind.pictures_of(own)}
            numbers = [first[kind.pictures_of(row)[0]] for row in merged]
        return cls(typed, merged, first_places(kind, typed), numbers)

    def unknown_to(self, task: AnyTask) -> dict[str, list[str]]:
        """The rows whose label or answer the model does not know, by that label.

        Raises:
            UserError: these are all rows.
        """
        if not (known := set(task.known)):
            return {}
        found: dict[str, list[str]] = {}
        for row, typed in self.table:
            for said in task.unknown(typed):
                found.setdefault(said, []).append(row.place)
        if found and not any(known & set(task.truths(typed)) for _, typed in self.table):
            row = self.table[0][0]
            what = next(field.name for field in task.spec.fields if field.target)
            raise UserError(
                f'{row.file}: the column "{row.names.get(what, what)}" has no {what} that the model knows; '
                f"it has {few(map(excerpt, found))}, and the model knows "
                f"{few(map(excerpt, sorted(known)))}: give --columns {what}=COLUMN, or the model of this task"
            )
        return found

    def answered(self, task: AnyTask, predictions: Sequence[Any]) -> str:
        """A JSON line a row: its number, what is right, what the model says, and whether that is right."""
        lines = []
        for number, row, prediction in zip(self.numbers, self.rows, predictions, strict=True):
            case = task.case(row, prediction)
            line = {"row": number, "truth": case.truth, "prediction": case.predicted, "right": case.right}
            boxes = {"true_boxes": case.true_boxes, "predicted_box": case.predicted_box}
            more = {"confidence": case.confidence, **boxes, **dict(named for named in case.texts if named[0])}
            line |= {name: value for name, value in more.items() if value is not None}
            lines.append(json.dumps(line, ensure_ascii=False) + "\n")
        return "".join(lines)
