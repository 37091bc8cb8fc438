"""Folds of a table: parts of like size, alike in their classes, without a picture in two of them."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from typing import Any

from xfm.core.errors import UserError
from xfm.data.tables import split_rows
from xfm.data.tables.split import drawn_units
from xfm.finetuning.presets import can_fold
from xfm.tasks.base import Task
from xfm.tasks.sampling import components
from xfm.tasks.splits import SplitRows


def kept_together(task: type[Task[Any, Any, Any]], rows: Sequence[Any]) -> list[Hashable]:
    """The group of each row: those that have something in common (`Task.together`) are not parted.

    Where pictures, or texts of pairs, connect more than half of the rows, every row stands alone: no split
    would be possible.
    """
    things = [task.together(row) for row in rows]
    numbers = components(things)
    groups: list[Hashable] = [numbers[own[0]] for own in things]
    connects = any(len(own) > 1 for own in things) or any(map(task.pictures_of, rows))
    if connects and max(Counter(groups).values()) > len(rows) / 2:
        return list(range(len(rows)))
    return groups


def strata_of(task: type[Task[Any, Any, Any]], rows: Sequence[Any]) -> list[str | None]:
    """What of each row is to be alike in all parts: its class; of several labels the rarest of the rows'.

    A rare label is what a draw may miss, and what the frequent ones of the same rows do not help to part.
    """
    own = [task.labels_of(row) for row in rows]
    counts = Counter(name for labels in own for name in labels)
    return [min(labels, key=lambda name: (counts[name], name), default=None) for labels in own]


def with_all_labels(
    labels: Sequence[Sequence[str]], groups: Sequence[Hashable], parts: Mapping[str, Sequence[int]]
) -> dict[str, list[int]]:
    """The same parts, but for groups with a label that the rest would have no row of: they go to the rest.

    Args:
        labels: of each row.
        groups: group of each row.
        parts: row numbers of each part, as `split_rows` has them.
    """
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


def fold_rows(
    groups: Sequence[Hashable], strata: Sequence[Hashable], folds: int, seed: int
) -> list[list[int]]:
    """Part rows into folds.

    Rows of a group stay together. The groups of a stratum (those whose first row is of one class) go one by
    one, large ones first and equal ones in an order that is drawn, to the fold that has fewest rows of the
    stratum, and of those to the one that has fewest rows.

    Args:
        groups: group of each row.
        strata: class of each row; all equal where there are no classes.
        folds: number of parts, 2 at least.
        seed: of the draw.

    Returns:
        Row numbers of each fold in rising order; some have none where there are fewer groups than folds.
    """
    found: list[list[int]] = [[] for _ in range(folds)]
    for units in drawn_units(groups, strata, seed):
        own = [0] * folds
        for unit in sorted(units, key=len, reverse=True):
            fold = min(range(folds), key=lambda place: (own[place], len(found[place]), place))
            found[fold] += unit
            own[fold] += len(unit)
    return [sorted(rows) for rows in found]


def require_folds(task: type[Task[Any, Any, Any]], rows: Sequence[Any], folds: int, table: str) -> None:
    """Refuse folds that a table cannot be parted into.

    Raises:
        UserError: the task's predictions are no predictions of rows, or there are fewer groups than twice the
            folds; says what to do.
    """
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
    """What the model of a fold learns from, chooses by and is scored on.

    Args:
        task: knows what may not be parted.
        data: all rows as training rows.
        held: places of the fold's.
        share: of the other rows that choose the best step.
        seed: of the draw.
    """
    out = set(held)
    rest = [row for place, row in enumerate(data.train) if place not in out]
    parts = split_rows(kept_together(task, rest), strata_of(task, rest), {"valid": share}, seed)
    chosen = [rest[place] for place in parts["valid"]]
    learned = [rest[place] for place in parts["rest"]]
    return SplitRows(learned, chosen, [data.train[place] for place in held], {}, data.labels, data.answers)
