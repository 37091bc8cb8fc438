"""Own data: tables with a row a case (CSV, TSV, JSON lines, Parquet, a folder of pictures, a hub data set).

`read_table` gives rows that know where they stand, whatever the file; `split_rows` parts them.
"""

from xfm.data.tables.columns import ColumnMap, Field
from xfm.data.tables.rows import TableRow
from xfm.data.tables.split import split_rows
from xfm.data.tables.table import read_table

__all__ = ["ColumnMap", "Field", "TableRow", "read_table", "split_rows"]
