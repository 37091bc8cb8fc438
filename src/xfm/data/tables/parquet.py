"""Parquet files; whole numbers that the hub's data sets give names to become those names."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.data.tables.arrow_cells import rows_of
from xfm.data.tables.parquet_footer import check_footer
from xfm.data.tables.parquet_pages import ROWS, check_rows, plan_group
from xfm.data.tables.records import RawRow, Records, named_row, unreadable
from xfm.errors import UserError, excerpt, first_line

if TYPE_CHECKING:
    from pyarrow import RecordBatch
    from pyarrow.parquet import ParquetFile


def read_parquet(path: Path, groups: range | None = None) -> Records:
    """A Parquet file, of which only the wanted columns are read.

    Args:
        path: the file.
        groups: of rows that are read; all if None. Rows are counted from the first that is read.

    Raises:
        UserError: pyarrow is not installed, or the file is missing or damaged.
    """
    file = open_parquet(path)
    from pyarrow import ArrowException

    names = tuple(file.schema_arrow.names)
    told = file.metadata
    groups = range(told.num_row_groups) if groups is None else groups
    total = sum(told.row_group(group).num_rows for group in groups)
    classes = stored_class_names(file.schema_arrow.metadata or {})

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        if twice := sorted(name for name, count in Counter(names).items() if count > 1 and name in wanted):
            raise UserError(f"{path}: the column {excerpt(twice[0])!r} is there twice; rename one of them")
        number = 0
        try:
            for batch in _batches(path, file, frozenset(names) & wanted, groups):
                for cells in rows_of(batch):
                    number += 1
                    yield named_row(number, cells, classes)
            if number != total:
                raise ValueError(f"it claims {total} rows")
        except (ArrowException, ArithmeticError, LookupError, OSError, ValueError) as error:
            raise UserError(
                f"{path} cannot be read after row {number} ({first_line(error)}); copy it again"
            ) from None

    return Records(names, rows)


def open_parquet(path: Path) -> "ParquetFile":
    """A Parquet file of which the footer has been read.

    Raises:
        UserError: pyarrow is not installed, or the file is missing or damaged.
    """
    try:
        import pyarrow as arrow
        from pyarrow import parquet
    except ImportError:
        raise UserError(f"{path}: Parquet needs pyarrow; install it with pip install 'xfm[tables]'") from None
    with unreadable(path):
        try:
            file = parquet.ParquetFile(path)
            check_rows(path, file.metadata)
            check_footer(path, file.metadata)
            return file
        except (arrow.ArrowException, ValueError) as error:  # a name that is no text is a ValueError
            raise UserError(f"{path} is not a Parquet file ({first_line(error)}); copy it again") from None


def _batches(
    path: Path, file: "ParquetFile", columns: frozenset[str], groups: range
) -> "Iterator[RecordBatch]":
    from pyarrow.parquet import ParquetFile

    if not columns:  # rows are counted nevertheless
        yield from file.iter_batches(ROWS, [*groups], columns=[])
        return
    wanted = [name for name in file.schema_arrow.names if name in columns]
    for group in groups:
        plan = plan_group(path, file.metadata, group, columns)
        # Chunks of columns are read piece by piece, not whole.
        with ParquetFile(
            path, metadata=file.metadata, read_dictionary=plan.once, buffer_size=1 << 20
        ) as part:
            yield from part.iter_batches(plan.rows, [group], wanted)


def stored_class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Names of the classes of each column, from what the hub's data sets write into a Parquet file."""
    try:
        features = json.loads(metadata[b"huggingface"])["info"]["features"]
        found = {
            name: feature.get("names") for name, feature in features.items() if isinstance(feature, dict)
        }
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        name: names
        for name, names in found.items()
        if isinstance(names, list) and all(isinstance(one, str) for one in names)
    }
