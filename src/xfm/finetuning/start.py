"""What a fine-tuning starts from: the model, and the rows that can be used."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from xfm.config.finetune import FinetuneConfig
from xfm.config.task import TaskConfig
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_specs
from xfm.core.errors import UserError
from xfm.data.collate import round_up
from xfm.data.images import UnreadableImage
from xfm.data.skipped import SkippedRecords
from xfm.data.tables import TableRow
from xfm.data.tokenizer import Tokenizer
from xfm.models.folder import Pretrained
from xfm.models.interop.loading import load
from xfm.tasks.base import AnyTask, TaskSettings
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import CellMeaning, SplitRows
from xfm.training import distributed

LONGEST, STEP = 512, 8
"""Texts are cut there unless more is asked for; lengths are multiples of the step."""
T = TypeVar("T")
TypedRow = tuple[TableRow, Any]
"""A row of a table, raw and typed."""
SAMPLED = 20_000
"""Training rows whose texts are measured."""


def prepared_base(model: Path | str, config: FinetuneConfig, spec: TaskSpec) -> Pretrained:
    """The model that a fine-tuning starts from, for pictures as the settings say."""
    found = load(model, image_size=config.image_size or None)
    seen = found.preprocessing.seen_as(config.framing, config.colours)
    seen = replace(seen, grey=config.grey or seen.grey)
    return found if seen == found.preprocessing else replace(found, preprocessing=seen)


def fitting_length(task: type[AnyTask], rows: Sequence[Any], tokenizer: Tokenizer | None, limit: int) -> int:
    """Tokens that hold the longest text of the rows, a multiple of `STEP`; `LONGEST` or the limit at most."""
    seen = [task.texts_of(row) for row in rows[:SAMPLED]]
    apart = [text for own in seen for text in own]
    texts = [" ".join(own) for own in seen if own] if task.spec.paired else apart
    if not texts or tokenizer is None:
        return min(limit, LONGEST)
    longest = max(len(ids) for ids, _ in tokenizer.encode_lists(texts, LONGEST))
    return min(limit, LONGEST, round_up(longest + 2, STEP))


def task_of(base: Pretrained, path: Path, task: str = "") -> TaskConfig:
    """Task configuration of a fine-tuned model, or of one that answers `task` without; UserError for
    others."""
    if base.task is None:
        able = [spec.name for spec in task_specs(tunable=True) if spec.uses]
        if task in able:
            return TaskConfig(task)
        raise UserError(
            f"{path} was not fine-tuned for a task: do that with `xfm finetune TASK --model {path} ...`, or "
            f"say what it is scored at without: --task {' or '.join(able)}"
        )
    if task not in ("", base.task.task.kind):
        raise UserError(f"{path} was fine-tuned for {base.task.task.kind}, not for {task}: leave out --task")
    told = base.task.task
    if told.spec.reads("max_answers") and not told.answers:
        raise UserError(f"{path} has no list of answers to rank; fine-tune it on questions of your own first")
    return told


def restored(
    kind: type[AnyTask], base: Pretrained, pictures: TaskImages, rows: Sequence[Any], settings: TaskSettings
) -> AnyTask:
    """The task of a model, fine-tuned or not; constant guesses are drawn from `rows` in place of training
    rows."""
    told = TaskConfig(kind.spec.name) if base.task is None else base.task.task
    labels = told.labels or tuple(str(number) for number in range(told.classes))
    limit = min(base.model.config.language.longest, LONGEST)
    fitting = fitting_length(kind, rows, base.given_tokenizer, limit)
    names = ("head", "label_kind", "threshold", "max_words", "dimensions")
    kept = {name: getattr(told, name) for name in names}
    settings = replace(settings, max_tokens=told.max_tokens or fitting, **kept)
    data = SplitRows(rows, labels=labels, answers=told.answers)
    task = kind(base, pictures, data, settings)
    task.finish()
    if base.task is not None:
        task.module.load_state_dict(base.task.state_dict())
    task.module.task = replace(task.module.task, temperature=told.temperature)
    task.module.eval()
    return task


def first_reads(read: Callable[[], T], pictures: TaskImages) -> T:
    """What the first process reads, for all, with the decoded pictures."""
    found, marks = distributed.on_first(lambda: (read(), pictures.marks))
    if distributed.rank():
        pictures.follow(marks)
    return found


# ---------------------------------------------------------------- rows whose pictures can be read
def readable_rows(
    task: type[AnyTask],
    raw: Mapping[str, Sequence[TableRow]],
    how: CellMeaning,
    left_out: SkippedRecords,
    pictures: TaskImages | None = None,
    progress: bool = False,
) -> dict[str, list[TypedRow]]:
    """Rows of tables, raw and typed, without those with unreadable pictures, which are counted; UserError: a
    wrong cell or too many left out."""
    typed: dict[str, list[TypedRow]] = {name: [] for name in raw}
    for name, rows in raw.items():
        for row in rows:
            try:
                typed[name].append((row, task.from_row(row, how)))
            except UnreadableImage as error:
                left_out.note(row.place, str(error))
    if pictures is not None:
        shown = _distinct(task, *([one for _, one in own] for own in typed.values()))
        bad = pictures.unreadable(shown, progress)
        for name, own in typed.items():
            typed[name] = [pair for pair in own if _usable(task, pair[1], pair[0].place, bad, left_out)]
    left_out.check()
    for name, rows in raw.items():
        left_out.count(str(rows[0].file), name, len(rows), len(rows) - len(typed[name]))
    require_texts(task, [pair for own in typed.values() for pair in own])
    return typed


def require_texts(task: type[AnyTask], rows: Sequence[TypedRow], texts: int = 0) -> None:
    """Refuse a row with another number of texts than `texts` (0: than the first row's)."""
    if (second := task.spec.second) is None:
        return
    like = "the rows that the model was fine-tuned on have" if texts else "the rows before it have"
    for row, one in rows:
        count = len(task.texts_of(one))
        if count != (texts := texts or count):
            problem = f"holds a text, and {like} none (--columns {second.name}= leaves it out)"
            if count < texts:
                problem = f"is missing or empty, and {like} one"
            raise row.error(second.name, problem)


def usable_rows(
    task: type[AnyTask],
    data: SplitRows[Any],
    pictures: TaskImages,
    left_out: SkippedRecords,
    progress: bool = False,
    lazily: bool = False,
) -> SplitRows[Any]:
    """Typed rows without those with unreadable pictures. `lazily` looks only at training pictures that fit
    into memory; others become blank when they fail."""
    if not data.train:
        raise UserError(f"{task.spec.name}: there are no training rows")
    splits = {"train": data.train, "valid": data.valid, "test": data.test, **data.others}
    seen = _distinct(task, *(rows for name, rows in splits.items() if name != "train" or not lazily))
    bad = pictures.unreadable(seen, progress)
    if lazily:
        bad |= pictures.unreadable(_distinct(task, data.train)[: pictures.room], progress)
    kept = {name: _without(rows, bad, task, name, left_out) for name, rows in splits.items()}
    left_out.check()
    own = {name: kept.pop(name) for name in ("train", "valid", "test")}
    return replace(data, **own, others=kept)


def readable(
    task: type[AnyTask], rows: Sequence[Any], split: str, pictures: TaskImages, left_out: SkippedRecords
) -> Sequence[Any]:
    """The rows of a split whose pictures can all be read; UserError where too many cannot."""
    kept = _without(rows, pictures.unreadable(_distinct(task, rows)), task, split, left_out)
    left_out.check()
    return kept


def _distinct(task: type[AnyTask], *splits: Sequence[Any]) -> list[Path]:
    return list(dict.fromkeys(path for rows in splits for row in rows for path in task.images_of(row)))


def _usable(
    task: type[AnyTask], row: Any, place: str, bad: Mapping[Path, str], left_out: SkippedRecords
) -> bool:
    reasons = [bad[path] for path in task.images_of(row) if path in bad]
    for reason in reasons[:1]:
        left_out.note(place, reason)
    return not reasons


def _without(
    rows: Sequence[Any], bad: Mapping[Path, str], task: type[AnyTask], split: str, left_out: SkippedRecords
) -> Sequence[Any]:
    kept = rows
    if bad:
        named = ((f"{split} row {place}", row) for place, row in enumerate(rows, start=1))
        kept = [row for place, row in named if _usable(task, row, place, bad, left_out)]
    left_out.count(split, split, len(rows), len(rows) - len(kept))
    return kept


def few(names: Iterable[str], most: int = 8) -> str:
    """The first names, for messages."""
    listed = list(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")
