"""Rows of a benchmark whose pictures cannot be read: not scored, but counted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from xfm.data.left_out import LeftOut
from xfm.evaluation.benchmarks.read.corpus import Corpus
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import pictures_of

T = TypeVar("T")


def note_reports(corpus: Corpus[Any], left_out: LeftOut) -> None:
    """Note what a benchmark's reader left out; UserError where that is too much."""
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

    UserError where too many cannot be read.
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
    whole = [True] * len(rows)
    for place, row in enumerate(rows) if bad else ():
        if found := next((path for path in pictures_of(row) if path in bad), None):
            whole[place] = False
            left_out.note(f"{split} row {place + 1}", bad[found])
    left_out.check()
    left_out.count(split, split, len(rows), whole.count(False))
    return whole
