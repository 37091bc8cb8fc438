"""JSON lines: an object a row, each with columns of its own."""

from pathlib import Path

from xfm.data.tables.records import Records
from xfm.data.task_rows import iterate_rows


def read_json_lines(path: Path, wanted: frozenset[str]) -> Records:
    """A file with a JSON object on every line that is not blank.

    Raises:
        UserError: while it is read: the file is missing, or a row is no JSON object.
    """
    return Records(None, ((row.number, row.fields) for row in iterate_rows(path)))
