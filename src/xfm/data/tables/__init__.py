"""Own data: tables with a row a case (files, a folder of pictures, a hub data set, rows in memory).

The one set of readers, of every command: `open_table` gives the rows of a file as they lie there, one after
the other; `read_table` all of them with the fields of a task, as rows that know where they stand;
`split_rows` parts them.
"""

from xfm.data.tables.columns import ColumnMap, Field
from xfm.data.tables.objects import InMemory, Table, as_splits, as_table
from xfm.data.tables.rows import TableRow
from xfm.data.tables.table import open_table, read_table, split_rows

__all__ = [
    "ColumnMap",
    "Field",
    "InMemory",
    "Table",
    "TableRow",
    "as_splits",
    "as_table",
    "open_table",
    "read_table",
    "split_rows",
]
