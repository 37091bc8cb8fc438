"""JSON lines: an object a row, each with columns of its own."""

from pathlib import Path

from xfm.data.tables.records import Records
from xfm.data.tasks import read_rows


def read_json_lines(path: Path, wanted: frozenset[str]) -> Records:
    """A file with a JSON object on every line that is not blank.

    Raises:
        UserError: the file is missing or empty, or a row is no JSON object.
    """
    rows = read_rows(path)
    return Records(None, ((row.number, row.fields) for row in rows))
