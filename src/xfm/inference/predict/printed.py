"""Answers on standard output: the same lines as in a file, for a look and for pipes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xfm.data.left_out import LeftOut
from xfm.errors import UserError, printable
from xfm.inference.base import Pipeline
from xfm.inference.items import InputError
from xfm.inference.predict.output import answer_line
from xfm.inference.predict.reading import InputRow, RowSource
from xfm.inference.predict.run import claim, draw_answer
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
    waiting: dict[int, InputRow] = {}
    warnings: dict[int, str] = {}
    answered, left_out = 0, LeftOut(max_bad)

    def given() -> Iterator[Any]:
        for number, row in enumerate(rows.rows(0, frozenset())):
            waiting[number] = row
            yield row.given

    def skip(number: int, reason: str) -> bool:
        if len(left_out.rows) >= left_out.limit:
            return False
        row = waiting.pop(number)
        left_out.note(row.place or str(row.number), reason)
        print(f"xfm: {printable(_placed(row, reason))}", file=sys.stderr)
        return True

    if draw is not None:
        claim(draw, f"printed: {digest([rows.known_by()])}", "these answers, which are printed")
    if isinstance(rows, FolderRows) and rows.report:
        print(f"xfm: {rows.report.sentence}", file=sys.stderr)
    try:
        for number, answer in pipe.numbered(given(), options, skip, warnings.__setitem__):
            row = waiting.pop(number)
            if draw is not None:
                draw_answer(pipe, row, answer, draw)
            shown = None if isinstance(rows, FolderRows) else row.number
            _print(answer_line(shown, row.kept, answer, warnings.pop(number, None)))
            answered += 1
            if answered % pipe.engine.window == 0 or not waiting:
                sys.stdout.flush()
    except InputError as error:
        raise UserError(_placed(waiting[error.number], error.reason)) from error
    finally:
        sys.stdout.flush()
    if skipped := len(left_out.rows):
        print(f"xfm: {skipped} of {answered + skipped} rows could not be answered", file=sys.stderr)
        left_out.check_share("the input", answered + skipped, skipped)


def _placed(row: InputRow, reason: str) -> str:
    """Where a row stands and what is wrong with it; an input of the command line stands nowhere."""
    return f"{row.place}: {reason}" if row.place else reason


def _print(line: bytes) -> None:
    """A line in whatever encoding the terminal has."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    text = line.decode()
    sys.stdout.write((text if encoding == "utf8" else json.dumps(json.loads(text))) + "\n")
