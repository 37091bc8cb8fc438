"""Rows of a benchmark whose pictures cannot be read: they are scored in no way, and counted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from xfm.data.left_out import LeftOut
from xfm.evaluation.benchmarks.read.corpus import Corpus
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import pictures_of

T = TypeVar("T")


def note_reports(corpus: Corpus[Any], left_out: LeftOut) -> None:
    """Note what the reader of a benchmark left out, and what else the files hold.

    Raises:
        UserError: it left out too much; the first few rows are named.
    """
    for report in corpus.reports:
        left_out.folder(report)
    for place, reason in corpus.left_out.items():
        left_out.note(place, reason)
    left_out.check()
    if absent := len(corpus.left_out):
        left_out.count("train", "train", len(corpus.train) + absent, absent)


def answered(
    rows: Sequence[Any],
    pictures: Pictures | None,
    split: str,
    left_out: LeftOut,
    answer: Callable[[], T],
) -> tuple[T, list[bool]]:
    """Answers to N rows, and whether every picture of a row could be read; unreadable ones are blank.

    A row that is left out is scored in no way: scores are of the others, and that is said beside them.

    Args:
        rows: of a split.
        pictures: read them; None for rows without pictures.
        split: its name.
        left_out: told of the rows.
        answer: gives them, and reads the pictures.

    Raises:
        UserError: too many cannot be read.
    """
    if pictures is None:
        left_out.count(split, split, len(rows), 0)
        return answer(), [True] * len(rows)
    before, pictures.lost = pictures.lost, LeftOut(left_out.limit)
    try:
        answers = answer()
    finally:
        pictures.lost = before
    return answers, _note(rows, pictures.blank_for, split, left_out)


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
