"""Own data: tables with a row a case (files, a folder of pictures, a hub data set, rows in memory).

The one set of readers, of every command: `open_table` gives the rows of a file as they lie there, one after
the other; `read_table` all of them with the fields of a task, as rows that know where they stand;
`split_rows` parts them.
"""

from xfm.data.tables.columns import ColumnMap as ColumnMap
from xfm.data.tables.columns import Field as Field
from xfm.data.tables.objects import InMemory as InMemory
from xfm.data.tables.objects import Table as Table
from xfm.data.tables.objects import as_splits as as_splits
from xfm.data.tables.objects import as_table as as_table
from xfm.data.tables.rows import TableRow as TableRow
from xfm.data.tables.table import open_table as open_table
from xfm.data.tables.table import read_table as read_table
from xfm.data.tables.table import split_rows as split_rows
