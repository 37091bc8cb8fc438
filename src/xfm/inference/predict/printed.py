"""Answers on standard output: the same lines as in a file, for a look and for pipes."""

import json
import sys
from pathlib import Path
from typing import Any

from xfm.data.left_out import LeftOut
from xfm.errors import amount, printable
from xfm.inference.base import Pipeline
from xfm.inference.predict.answering import answered_rows, claim
from xfm.inference.predict.output import answer_line
from xfm.inference.predict.reading import InputRow, RowSource
from xfm.inference.predict.sources import FolderRows
from xfm.results_folder import digest


def print_answers(
    pipe: Pipeline[Any, Any],
    rows: RowSource,
    options: Any,
    max_bad: int | None = None,
    draw: Path | None = None,
) -> None:
    """Print a JSON line for every row; rows that are passed over are named on standard error.

    Args:
        pipe: the pipeline.
        rows: what is answered.
        options: of the task.
        max_bad: rows to pass over at most because they cannot be answered; None is the rule of `LeftOut`.
        draw: folder for the pictures of a grounding with their boxes.

    Raises:
        UserError: too many rows cannot be answered (those before the last of them are printed), or `draw`
            holds something else.
    """
    answered, left_out = 0, LeftOut(max_bad)

    def skip(row: InputRow, reason: str) -> bool:
        if len(left_out.rows) >= left_out.limit:
            return False
        left_out.note(row.place or str(row.number), reason)
        print(f"xfm: {printable(row.says(reason))}", file=sys.stderr)
        return True

    if draw is not None:
        claim(draw, f"printed: {digest([rows.known_by()])}", "these answers, which are printed")
    if isinstance(rows, FolderRows) and rows.report:
        print(f"xfm: {rows.report.sentence}", file=sys.stderr)
    for row, answer, warning in answered_rows(pipe, rows.rows(0, frozenset()), options, skip, draw):
        shown = None if isinstance(rows, FolderRows) else row.number
        _print(answer_line(shown, row.kept, answer, warning))
        answered += 1
    if skipped := len(left_out.rows):
        of = amount(answered + skipped, "row")
        print(f"xfm: {skipped:,} of {of} could not be answered", file=sys.stderr)
        left_out.check_share("the input", answered + skipped, skipped)


def _print(line: bytes) -> None:
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    text = line.decode()
    if encoding != "utf8":
        text = json.dumps(json.loads(text))
    elif not text.isprintable():
        text = "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in text)
    print(text, flush=True)
