"""Parquet files; whole numbers that the hub's data sets give names to become those names.

pyarrow reads them in a process of its own, see `xfm.core.sandbox`.
"""

import json
from collections.abc import Iterator
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfm.core.errors import UserError, first_line
from xfm.core.sandbox import ParsingError, parsed
from xfm.data.images import byte_limit, too_many_bytes
from xfm.data.records import MAX_ANNOTATION
from xfm.data.tables import records

if TYPE_CHECKING:
    from pyarrow import RecordBatch

_FREE = 1_000_000
"""Rows that any file may have; a run of one value takes no bytes for each."""
_ROWS = 256  # that are Python's objects at a time


def read_footer(path: Path) -> tuple[list[str], list[int], list[int], dict[str, list[str]]]:
    """Columns of a Parquet file, rows and bytes by group, and classes by column; raises UserError."""
    if find_spec("pyarrow") is None:
        raise UserError(f"{path}: Parquet needs pyarrow; install it with pip install 'xfm[tables]'")
    with records.unreadable(path), path.open("rb") as file:
        size = file.seek(0, 2)
    try:
        [data] = parsed("xfm.data.parsers:parquet_footer", str(path))
        found = json.loads(data)
    except ParsingError as error:
        remedy = error.remedy or "copy it again"
        raise UserError(f"{path} is not a Parquet file ({error}); {remedy}") from None
    if (rows := sum(found["rows"])) > max(_FREE, size):
        raise UserError(f"{path} claims {rows} rows in {size} bytes, more than will be read; write fewer")
    return found["columns"], found["rows"], found["bytes"], class_names(found["features"])


def read_parquet(path: Path, groups: range | None = None) -> records.Records:
    """A Parquet file: wanted columns and row groups; rows count from the first read. Raises UserError."""
    columns, counts, _, classes = read_footer(path)
    chosen = range(len(counts)) if groups is None else groups
    total = sum(counts[group] for group in chosen)

    def rows(wanted: frozenset[str]) -> Iterator[records.RawRow]:
        from pyarrow import ipc

        names = [name for name in columns if name in wanted]
        records.refuse_double_columns(path, names)
        if not names:  # they are counted nevertheless
            yield from (records.RawRow(number, {}, number) for number in range(1, total + 1))
            return
        number, remedy = 0, ""
        try:
            for data in parsed("xfm.data.parsers:parquet_batches", str(path), [*chosen], names):
                with ipc.open_stream(data) as stream:
                    for batch in stream:
                        batch.validate(full=True)
                        parts = (batch.slice(start, _ROWS) for start in range(0, len(batch), _ROWS))
                        for cells in chain.from_iterable(map(rows_of, parts)):
                            number += 1
                            yield records.named_row(number, cells, classes)
            if number != total:
                raise ValueError(f"it claims {total} rows")
        except (ArithmeticError, LookupError, OSError, ValueError) as error:  # of pyarrow, too
            remedy = getattr(error, "remedy", "") or "copy it again"
            told = f"after row {number} ({first_line(error)}); {remedy}"
            raise UserError(f"{path} cannot be read {told}") from None

    return records.Records(tuple(columns), rows)


def rows_of(batch: "RecordBatch") -> list[dict[str, Any]]:
    """The rows of a batch; a cell that is too large is a `TooLargeError`, to be raised where it is used."""
    names = batch.schema.names
    columns = [_cells(batch.column(number)) for number in range(len(names))]
    return [dict(zip(names, cells, strict=True)) for cells in zip(*columns, strict=True)]


def _cells(array: Any) -> list[Any]:
    """A value that stands in many rows is one object, not one a row."""
    from pyarrow import types

    if types.is_dictionary(array.type):
        used = array.indices.unique().drop_null()
        found = dict(zip(used.to_pylist(), _cells(array.dictionary.take(used)), strict=True))
        return [None if index is None else found[index] for index in array.indices.to_pylist()]
    if types.is_struct(array.type) and array.type.num_fields:
        names = [one.name for one in array.type]
        rows = zip(*(_cells(array.field(number)) for number in range(len(names))), strict=True)
        found = []
        for there, cells in zip(array.is_valid().to_pylist(), rows, strict=True):
            large = next((one for one in cells if isinstance(one, records.TooLargeError)), None)
            found.append((large or dict(zip(names, cells, strict=True))) if there else None)
        return found
    return [_checked(cell) for cell in array.to_pylist()]


def _checked(cell: Any) -> Any:
    limit = byte_limit() if isinstance(cell, bytes) else MAX_ANNOTATION
    if isinstance(cell, str | bytes) and len(cell) > limit:
        return records.TooLargeError(too_many_bytes(len(cell), limit, picture=False))
    return cell


def class_names(features: str | bytes) -> dict[str, list[str]]:
    """Names of the classes of each column, from what the hub's data sets write into a Parquet file."""
    try:
        columns = json.loads(features)["info"]["features"]
        found = {name: feature.get("names") for name, feature in columns.items() if isinstance(feature, dict)}
    except (KeyError, ValueError, TypeError, AttributeError, RecursionError):
        return {}
    return {
        name: names
        for name, names in found.items()
        if isinstance(names, list) and all(isinstance(one, str) for one in names)
    }
