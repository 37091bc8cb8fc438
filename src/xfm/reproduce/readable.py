"""Pictures of a benchmark are looked at before anything is trained; rows without theirs are left out.

A picture that looked whole and turns out broken when it is decoded is blank from then on; its row is scored
in no way either.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from xfm.data.left_out import LeftOut
from xfm.data.picture_check import look_through
from xfm.reproduce.files.unpacked import CACHE
from xfm.reproduce.found import Setting
from xfm.reproduce.read.corpus import Corpus
from xfm.tasks.lazy_rows import files_of
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import pictures_of

T = TypeVar("T")
KNOWN = "looked-at"
"""File that remembers which pictures were whole, in the cache of the data folder or of `--out`."""


def looked_through(corpus: Corpus[Any], setting: Setting) -> Setting:
    """The setting with what is found out about the pictures of all splits, hidden ones included.

    What the reader left out, and what else the files hold, is noted in `setting.left_out`.

    Raises:
        UserError: too many rows of a split cannot be used; the first few are named. Nothing was trained.
    """
    left_out = setting.left_out
    for report in corpus.reports:
        left_out.folder(report)
    for place, reason in corpus.left_out.items():
        left_out.note(place, reason)
    left_out.check()
    if absent := len(corpus.left_out):
        left_out.count("train", "train", len(corpus.train) + absent, absent)
    splits = {"train": corpus.train, "validation": corpus.validation, **corpus.scored, **corpus.hidden}
    shown = [rows for rows in splits.values() if rows and pictures_of(rows[0])]
    if not shown:
        return setting
    out = setting.folder.parents[2]
    places = [place / CACHE / KNOWN for place in (setting.data, out)]
    looked = look_through(files_of(shown, pictures_of), places, setting.progress)
    if looked.bad:  # what hours of training would end with
        for split, rows in (("train", corpus.train), ("validation", corpus.validation)):
            _note(rows, looked.bad, split, LeftOut(left_out.max_bad))
        tests = LeftOut(left_out.max_bad)
        for split, rows in (*corpus.scored.items(), *corpus.hidden.items()):
            _note(rows, looked.bad, split, tests)
    return replace(setting, looked=looked)


def answered(
    rows: Sequence[Any],
    pictures: Pictures | None,
    split: str,
    setting: Setting,
    answer: Callable[[], T],
) -> tuple[T, list[bool]]:
    """Answers to N rows, and whether every picture of a row could be read; unreadable ones are blank.

    A row that is left out is scored in no way: scores are of the others, and that is said beside them.

    Args:
        rows: of a split.
        pictures: read them; None for rows without pictures.
        split: its name.
        setting: told of the rows, and knows what was found out before.
        answer: gives them, and reads the pictures.

    Raises:
        UserError: too many cannot be read.
    """
    if pictures is None:
        setting.left_out.count(split, split, len(rows), 0)
        return answer(), [True] * len(rows)
    pictures.hide(setting.looked.bad)
    before, pictures.lost = pictures.lost, LeftOut(setting.left_out.limit)
    try:
        answers = answer()
    finally:
        pictures.lost = before
    return answers, _note(rows, {**pictures.blank_for, **setting.looked.bad}, split, setting.left_out)


def _note(rows: Sequence[Any], bad: dict[Path, str], split: str, left_out: LeftOut) -> list[bool]:
    """Note the rows that show a bad picture; whether each of N shows none.

    Raises:
        UserError: there are too many.
    """
    whole = [True] * len(rows)
    for place, row in enumerate(rows) if bad else ():
        if found := next((path for path in pictures_of(row) if path in bad), None):
            whole[place] = False
            left_out.note(f"{split} row {place + 1}", bad[found])
    left_out.check()
    left_out.count(split, split, len(rows), whole.count(False))
    return whole
