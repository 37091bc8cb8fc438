"""Which typed rows can be used, where no table says where a picture stands; and whether that stays so."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfm.data.left_out import LeftOut, read_bad_rows
from xfm.errors import UserError
from xfm.tasks.own import OwnTask
from xfm.tasks.pictures import Pictures
from xfm.tasks.splits import SplitRows


def usable_rows(
    task: type[OwnTask[Any, Any, Any]],
    data: SplitRows[Any],
    pictures: Pictures,
    left_out: LeftOut,
    progress: bool = False,
) -> SplitRows[Any]:
    """The rows without those of which a picture cannot be read; every picture is read once.

    Args:
        task: knows the pictures of a row.
        data: typed rows by split.
        pictures: read them; as many as fit stay in memory.
        left_out: told of the rows.
        progress: show a bar.

    Raises:
        UserError: too many rows would be left out; names the first few.
    """
    own = {"train": data.train, "valid": data.valid, "test": data.test}
    splits: dict[str, Sequence[Any]] = {**own, **data.others}
    named = dict.fromkeys(path for rows in splits.values() for row in rows for path in task.pictures_of(row))
    bad = pictures.unreadable(list(named), progress)
    kept = {name: without(rows, bad, task, name, left_out) for name, rows in splits.items()}
    left_out.check()
    others = {name: kept[name] for name in data.others}
    return replace(data, **{name: kept[name] for name in own}, others=others)


def without(
    rows: Sequence[Any],
    bad: Mapping[Path, str],
    task: type[OwnTask[Any, Any, Any]],
    split: str,
    left_out: LeftOut,
) -> Sequence[Any]:
    """The rows of a split without those that show one of the bad pictures.

    Raises:
        UserError: too little is left of the split.
    """
    kept: list[Any] = []
    for number, row in enumerate(rows, start=1):
        found = [path for path in task.pictures_of(row) if path in bad]
        if not found:
            kept.append(row)
        for path in found[:1]:
            left_out.note(f"{split} row {number}", bad[path])
    left_out.count(split, split, len(rows), len(rows) - len(kept))
    return kept


def require_same(out: Path, left_out: LeftOut) -> None:
    """Refuse to resume a run with other rows than it began with.

    Raises:
        UserError: other rows were left out when it began; names one.
    """
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
