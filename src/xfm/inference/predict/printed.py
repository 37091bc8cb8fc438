"""Answers on standard output: the same lines as in a file, for a look and for pipes."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from xfm.errors import UserError, printable
from xfm.inference.base import Pipeline
from xfm.inference.items import InputError
from xfm.inference.predict.output import answer_line
from xfm.inference.predict.reading import InputRow, RowSource
from xfm.inference.predict.run import draw_answer
from xfm.inference.predict.sources import FolderRows


def print_answers(
    pipe: Pipeline[Any, Any], rows: RowSource, options: Any, limit: int = 0, draw: Path | None = None
) -> None:
    """Print a JSON line for every row; rows that are passed over are named on standard error.

    Args:
        pipe: the pipeline.
        rows: what is answered.
        options: of the task.
        limit: most rows that may be passed over because they cannot be answered.
        draw: folder for the pictures of a grounding with their boxes.

    Raises:
        UserError: a row cannot be answered; those before it are printed.
    """
    waiting: dict[int, InputRow] = {}
    warnings: dict[int, str] = {}
    answered = skipped = 0

    def given() -> Iterator[Any]:
        for number, row in enumerate(rows.rows(0, frozenset())):
            waiting[number] = row
            yield row.given

    def skip(number: int, reason: str) -> bool:
        nonlocal skipped
        if skipped >= limit:
            return False
        skipped += 1
        print(f"xfm: {printable(_placed(waiting.pop(number), reason))}", file=sys.stderr)
        return True

    if isinstance(rows, FolderRows) and rows.report:
        print(f"xfm: {rows.report.sentence}", file=sys.stderr)
    try:
        for number, answer in pipe.numbered(given(), options, skip if limit else None, warnings.__setitem__):
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
    if skipped:
        print(f"xfm: {skipped} of {answered + skipped} rows could not be answered", file=sys.stderr)


def _placed(row: InputRow, reason: str) -> str:
    """Where a row stands and what is wrong with it; an input of the command line stands nowhere."""
    return f"{row.place}: {reason}" if row.place else reason


def _print(line: bytes) -> None:
    """A line in whatever encoding the terminal has."""
    encoding = (sys.stdout.encoding or "ascii").lower().replace("-", "")
    text = line.decode()
    sys.stdout.write((text if encoding == "utf8" else json.dumps(json.loads(text))) + "\n")
