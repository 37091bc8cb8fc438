"""Any table as rows with the fields of a task."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from xfm.config.table_kinds import LISTED, table_kind
from xfm.config.task_spec import Holds
from xfm.core.errors import UserError
from xfm.core.paths import at_home
from xfm.data.addresses import AddressBook
from xfm.data.left_out import LeftOut
from xfm.data.tables.columns import ColumnMap, Field
from xfm.data.tables.delimited import read_delimited
from xfm.data.tables.embedded import PictureStore
from xfm.data.tables.folder import read_folder
from xfm.data.tables.hub import PREFIX, read_hub
from xfm.data.tables.json_list import read_json
from xfm.data.tables.lines import read_json_lines
from xfm.data.tables.objects import InMemory, read_objects
from xfm.data.tables.parquet import read_parquet
from xfm.data.tables.records import Records
from xfm.data.tables.rows import TableRow
from xfm.data.tables.shard import read_shard
from xfm.data.tables.workbook import read_workbook

_READERS: dict[str, Callable[[Path], Records]] = {
    ".jsonl": read_json_lines,
    ".ndjson": read_json_lines,
    ".json": read_json,
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".parquet": read_parquet,
    ".xlsx": read_workbook,
    ".tar": read_shard,
}
"""By the kinds of `xfm.config.table_kinds`."""


def read_table(
    source: str | Path | InMemory,
    fields: Sequence[Field],
    columns: ColumnMap,
    store: Path,
    root: Path | None = None,
    left_out: LeftOut | None = None,
    addresses: AddressBook | None = None,
) -> list[TableRow]:
    """The rows of a table with the fields of a task. `source` is a file, a folder with a folder of images a
    class, `hub:OWNER/NAME[:CONFIG][@SPLIT]`, or a table in memory; images in cells are written to `store`;
    paths start from `root` (None: the table's folder); `left_out` hears of other files in a folder. Raises
    UserError where the source is missing, damaged or empty, or lacks a column."""
    source = source if isinstance(source, InMemory) else at_home(str(source))
    columns.check_fields(fields)
    wanted = columns.wanted(fields)
    place, free = Path(str(source)), isinstance(source, InMemory)
    records = open_table(source)
    if records.report is not None:
        (left_out or LeftOut()).folder(records.report)
    names: dict[str, str] = {}
    if records.columns is not None:
        columns.check_columns(fields, records.columns, place)
        names = columns.places(fields, records.columns)
    pictures = PictureStore(store)
    rows: list[TableRow] = []
    for raw in records.rows(wanted):
        cells = raw.checked(place)
        if records.columns is None:
            columns.check_columns(fields, cells, f"{place}:{raw.number}", others=bool(rows))
            names = columns.places(fields, cells)
        row = TableRow.picked(cells, place, raw.number, names, root, free)
        rows.append(replace(row.unpacked(fields, pictures), addresses=addresses))
    if not rows:
        raise UserError(f"{place} holds no rows; check the path")
    if addresses is not None:
        shown = [one for one in fields if one.holds in (Holds.PICTURE, Holds.TWO_PICTURES)]
        cells = [name for one in shown for name in (one.name, *one.parts)]
        addresses.fetch_all((url, row.place) for row in rows for name in cells for url in row.urls(name))
    return rows


def open_table(source: str | Path | InMemory) -> Records:
    """A table whose rows are read one after the other, of the sources of `read_table`. Raises UserError."""
    if isinstance(source, InMemory):
        return read_objects(source)
    if str(source).startswith(PREFIX):
        return read_hub(str(source))
    path = Path(source)
    if os.path.isdir(path):  # of a name that is too long, `Path.is_dir` raises
        return read_folder(path)
    reader = _READERS.get(table_kind(path) or "")
    if reader is None:
        raise UserError(
            f"{path}: tables are {LISTED} files, folders with a folder of pictures a class, or "
            "hub:OWNER/NAME; rename or convert the file"
        )
    return reader(path)
