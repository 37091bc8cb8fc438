"""Rows of a benchmark of which every picture can be read, and how the others are counted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from xfm.data.left_out import LeftOut
from xfm.tasks.pictures import Pictures


def readable(
    rows: Sequence[Any],
    pictures: Pictures | None,
    pictures_of: Callable[[Any], tuple[Path, ...]],
    split: str,
    left_out: LeftOut,
) -> list[bool]:
    """Whether every picture of a row can be read, for each of N rows; unreadable ones are blank from then on.

    A row that is left out is scored in no way: scores are of the others, and that is said beside them.

    Args:
        rows: of a split.
        pictures: reads them; None for rows without pictures.
        pictures_of: the pictures of a row.
        split: its name.
        left_out: told of the rows.

    Raises:
        UserError: too many cannot be read.
    """
    named = dict.fromkeys(path for row in rows for path in pictures_of(row))
    if pictures is None or not named:
        left_out.count(split, split, len(rows), 0)
        return [True] * len(rows)
    bad = pictures.unreadable(list(named))
    pictures.hide(bad)
    found = [next((path for path in pictures_of(row) if path in bad), None) for row in rows]
    for number, path in enumerate(found, start=1):
        if path is not None:
            left_out.note(f"{split} row {number}", bad[path])
    left_out.check()
    left_out.count(split, split, len(rows), len(rows) - found.count(None))
    return [path is None for path in found]
