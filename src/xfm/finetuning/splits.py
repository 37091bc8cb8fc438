"""How a table is parted: rows that stay together, splits as `split.json` keeps them, folds."""

import json
from collections import Counter
from collections.abc import Container, Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.core.files import read_text
from xfm.data.tables import TableRow, split_rows
from xfm.data.tables.table import drawn_units
from xfm.finetuning.presets import can_fold
from xfm.reports.scores import write_json
from xfm.tasks.base import Task
from xfm.tasks.rows import SplitRows
from xfm.tasks.sampling import components
from xfm.training.checkpoint import list_checkpoints

SPLIT_FILE, LEFT_OUT, SPLITS = "split.json", "left_out", ("train", "valid", "test")


def kept_together(task: type[Task[Any, Any, Any]], rows: Sequence[Any]) -> list[Hashable]:
    """Group of each row by `Task.together`; every row alone if that would connect more than half of them."""
    things = [task.together(row) for row in rows]
    numbers = components(things)
    groups: list[Hashable] = [numbers[own[0]] for own in things]
    connects = any(len(own) > 1 for own in things) or any(map(task.pictures_of, rows))
    if connects and max(Counter(groups).values()) > len(rows) / 2:
        return list(range(len(rows)))
    return groups


def strata_of(task: type[Task[Any, Any, Any]], rows: Sequence[Any]) -> list[str | None]:
    """The class of each row, or the rarest of its labels, which a draw may miss."""
    own = [task.labels_of(row) for row in rows]
    counts = Counter(name for labels in own for name in labels)
    return [min(labels, key=lambda name: (counts[name], name), default=None) for labels in own]


def with_all_labels(
    labels: Sequence[Sequence[str]], groups: Sequence[Hashable], parts: Mapping[str, Sequence[int]]
) -> dict[str, list[int]]:
    """Parts of row numbers, but groups with a label that training rows would lack go to them."""
    found = {name: list(rows) for name, rows in parts.items()}
    known = {name for row in found["rest"] for name in labels[row]}
    for part, rows in parts.items():
        for row in rows if part != "rest" else ():
            if known.issuperset(labels[row]) or row not in found[part]:
                continue
            moved = [one for one in found[part] if groups[one] == groups[row]]
            found[part] = [one for one in found[part] if groups[one] != groups[row]]
            found["rest"] += moved
            known |= {name for one in moved for name in labels[one]}
    return {name: sorted(rows) for name, rows in found.items()}


def write_split(
    out: Path,
    table: str | Path,
    seed: int | None,
    rows: Mapping[str, Sequence[TableRow]],
    left_out: Sequence[int] = (),
) -> None:
    """Write row numbers by split, as messages have them; `seed` is None if nothing was drawn."""
    if (out / SPLIT_FILE).exists() and list_checkpoints(out):
        return  # a run that is resumed has its own; if these rows are others, it says so later
    numbers = {name: [row.number for row in own] for name, own in rows.items()}
    content = {"file": str(table), "seed": seed, "rows": numbers}
    write_json(out / SPLIT_FILE, {**content, **({LEFT_OUT: list(left_out)} if left_out else {})})


def read_split(path: Path) -> tuple[dict[str, list[int]], frozenset[int]]:
    """Row numbers by split of a split.json or a run's folder, and those left out."""
    path = path / SPLIT_FILE if path.is_dir() else path
    try:
        content = json.loads(read_text(path))
        found: Any = content["rows"]
        absent = frozenset(content.get(LEFT_OUT, ()))
    except OSError as error:
        raise UserError(f"{path}: cannot read the file ({error.strerror or error}); check --split") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        found, absent = None, frozenset[int]()
    if not isinstance(found, dict) or not all(map(_is_part, found.items())) or not found.get("train"):
        raise UserError(
            f'{path} is not a split: it must hold {{"rows": {{"train": [NUMBER, ...], "valid": [...], '
            '"test": [...]}}, as the split.json of a fine-tuning does'
        )
    return found, absent


def _is_part(item: tuple[object, object]) -> bool:
    name, numbers = item
    return name in SPLITS and isinstance(numbers, list) and all(type(one) is int for one in numbers)


def part_as(
    split: dict[str, list[int]], path: Path, rows: Sequence[TableRow], left_out: Container[str] = ()
) -> dict[str, list[int]]:
    """Places by split of a table's rows; UserError names a row in no split, in two, or not in the table."""
    places = {row.number: place for place, row in enumerate(rows)}
    parts: dict[str, list[int]] = {}
    seen: dict[int, str] = {}
    for name, numbers in split.items():
        for number in numbers:
            if number not in places:
                if f"{rows[0].file}:{number}" in left_out:
                    continue
                raise UserError(f"{path}: {rows[0].file} has no row {number}; give the table of this split")
            if number in seen:
                raise UserError(
                    f"{path}: row {number} is in {seen[number]} and in {name}; take it out of one"
                )
            seen[number] = name
        parts[name] = [places[number] for number in numbers if number in places]
    if absent := [row for row in rows if row.number not in seen]:
        raise UserError(
            f"{absent[0].place}: the row is in no split of {path}; add it there, or leave out --split"
        )
    return parts


def fold_rows(
    groups: Sequence[Hashable], strata: Sequence[Hashable], folds: int, seed: int
) -> list[list[int]]:
    """Row numbers of each fold. Groups stay together; by stratum, large groups first, each goes to the fold
    with fewest rows of it."""
    found: list[list[int]] = [[] for _ in range(folds)]
    for units in drawn_units(groups, strata, seed):
        own = [0] * folds
        for unit in sorted(units, key=len, reverse=True):
            fold = min(range(folds), key=lambda place: (own[place], len(found[place]), place))
            found[fold] += unit
            own[fold] += len(unit)
    return [sorted(rows) for rows in found]


def require_folds(task: type[Task[Any, Any, Any]], rows: Sequence[Any], folds: int, table: str) -> None:
    """Refuse folds of a task or table that cannot be parted so."""
    if not can_fold(task.spec):
        raise UserError(
            f"--folds: {task.spec.name} ranks all rows of a split together, so that folds could not be "
            "scored as one; leave --folds out"
        )
    groups = len(set(kept_together(task, rows)))
    if groups < 2 * folds:
        raise UserError(
            f"--folds: {table} has {groups} groups of rows that share no picture and no text, too few for "
            f"{folds} folds; take --folds {max(2, groups // 2)} at most, or add rows"
        )


def fold_data(
    task: type[Task[Any, Any, Any]], data: SplitRows[Any], held: Sequence[int], share: float, seed: int
) -> SplitRows[Any]:
    """What the model of a fold learns from, chooses by (a share of the others) and is scored on (`held`)."""
    out = set(held)
    rest = [row for place, row in enumerate(data.train) if place not in out]
    parts = split_rows(kept_together(task, rest), strata_of(task, rest), {"valid": share}, seed)
    chosen = [rest[place] for place in parts["valid"]]
    learned = [rest[place] for place in parts["rest"]]
    return SplitRows(learned, chosen, [data.train[place] for place in held], {}, data.labels, data.answers)
