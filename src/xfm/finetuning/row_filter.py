"""Which rows can be used, of tables and typed ones; whether that stays so."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from xfm.core.errors import UserError
from xfm.data.images import UnreadablePicture
from xfm.data.skipped import SkippedRecords, read_bad_rows
from xfm.data.tables import TableRow
from xfm.tasks.base import Task
from xfm.tasks.images import Pictures
from xfm.tasks.rows import CellMeaning, ChosenRows, LazyRows, SplitRows

Row = TypeVar("Row")
_SHOWN = 3


# ---------------------------------------------------------------- rows of tables
def readable_rows(
    task: type[Task[Row, Any, Any]],
    raw: Mapping[str, Sequence[TableRow]],
    how: CellMeaning,
    left_out: SkippedRecords,
    pictures: Pictures | None = None,
    progress: bool = False,
) -> dict[str, list[tuple[TableRow, Row]]]:
    """Rows of tables, raw and typed, without those with unreadable pictures; UserError: a wrong cell or too
    many left out."""
    typed = {name: _typed(task, rows, how, left_out) for name, rows in raw.items()}
    if pictures is not None:
        typed = _readable(task, typed, pictures, left_out, progress)
    left_out.check()
    require_texts(task, [pair for own in typed.values() for pair in own])
    return typed


def require_texts(
    task: type[Task[Row, Any, Any]], rows: Sequence[tuple[TableRow, Row]], texts: int = 0
) -> None:
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


def _typed(
    task: type[Task[Row, Any, Any]], rows: Sequence[TableRow], how: CellMeaning, left_out: SkippedRecords
) -> list[tuple[TableRow, Row]]:
    found: list[tuple[TableRow, Row]] = []
    for row in rows:
        try:
            found.append((row, task.from_row(row, how)))
        except UnreadablePicture as error:
            left_out.note(row.place, str(error))
    return found


def _readable(
    task: type[Task[Row, Any, Any]],
    typed: Mapping[str, list[tuple[TableRow, Row]]],
    pictures: Pictures,
    left_out: SkippedRecords,
    progress: bool,
) -> dict[str, list[tuple[TableRow, Row]]]:
    rows = [(row, task.pictures_of(converted)) for own in typed.values() for row, converted in own]
    bad = pictures.unreadable(list(dict.fromkeys(path for _, paths in rows for path in paths)), progress)
    for row, paths in rows:
        for path in paths:
            if path in bad:
                left_out.note(row.place, bad[path])
    return {
        name: [(row, one) for row, one in own if bad.keys().isdisjoint(task.pictures_of(one))]
        for name, own in typed.items()
    }


def first_places(task: type[Task[Row, Any, Any]], rows: Sequence[tuple[TableRow, Row]]) -> dict[Path, str]:
    """File and row in which each picture is first named."""
    return {picture: row.place for row, one in reversed(rows) for picture in task.pictures_of(one)}


# ---------------------------------------------------------------- typed rows
def usable_rows(
    task: type[Task[Any, Any, Any]],
    data: SplitRows[Any],
    pictures: Pictures,
    left_out: SkippedRecords,
    progress: bool = False,
    lazily: bool = False,
) -> SplitRows[Any]:
    """Typed rows without those with unreadable pictures. `lazily` looks only at training pictures that fit
    into memory; others become blank when they fail."""
    own = {"train": data.train, "valid": data.valid, "test": data.test}
    splits: dict[str, Sequence[Any]] = {**own, **data.others}
    order = (data.train, *(rows for name, rows in splits.items() if name != "train"))
    bad = pictures.unreadable(_distinct(task, order[1:] if lazily else order), progress)
    if lazily:
        bad |= pictures.unreadable(_distinct(task, order[:1], pictures.room), progress)
    kept = {name: _without(rows, bad, task, name, left_out) for name, rows in splits.items()}
    left_out.check()
    others = {name: kept[name] for name in data.others}
    return replace(data, **{name: kept[name] for name in own}, others=others)


def _distinct(
    task: type[Task[Any, Any, Any]], splits: Iterable[Sequence[Any]], most: int | None = None
) -> list[Path]:
    named: dict[Path, None] = {}
    for path in (path for rows in splits for row in rows for path in task.pictures_of(row)):
        if most is not None and len(named) >= most:
            break
        named[path] = None
    return list(named)


def _without(
    rows: Sequence[Any],
    bad: Mapping[Path, str],
    task: type[Task[Any, Any, Any]],
    split: str,
    left_out: SkippedRecords,
) -> Sequence[Any]:
    absent = set[int]()
    for place, row in enumerate(rows) if bad else ():
        for path in [path for path in task.pictures_of(row) if path in bad][:1]:
            absent.add(place)
            left_out.note(f"{split} row {place + 1}", bad[path])
    left_out.count(split, split, len(rows), len(absent))
    if not absent:
        return rows
    kept = (place for place in range(len(rows)) if place not in absent)
    return ChosenRows(rows, kept) if isinstance(rows, LazyRows) else [rows[place] for place in kept]


def require_same_left_out(out: Path, left_out: SkippedRecords) -> None:
    """Refuse to resume with other left-out rows than at the beginning."""
    before = read_bad_rows(out)
    for place in sorted(before.keys() ^ left_out.rows.keys()):
        was, now = before.get(place), left_out.rows.get(place)
        change = (
            f"was left out when the run began ({was}) and can be read now"
            if was
            else (f"was read when the run began and cannot be read now ({now})")
        )
        raise UserError(
            f"{place} {change}: bring it back as it was to go on with {out}, or begin in another folder"
        )


def few(names: Iterable[str], most: int = 8) -> str:
    """The first names, for messages."""
    listed = list(names)
    return ", ".join(listed[:most]) + (", ..." if len(listed) > most else "")
