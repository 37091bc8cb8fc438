"""Parquet files; whole numbers that the hub's data sets give names to become those names."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfm.data.tables.records import Records, unreadable
from xfm.errors import UserError, first_line

if TYPE_CHECKING:
    from pyarrow.parquet import ParquetFile

_ROWS, _BYTES = 256, 64 << 20  # of a batch at most; rows may hold pictures


def read_parquet(path: Path, wanted: frozenset[str]) -> Records:
    """A Parquet file, of which only the wanted columns are read.

    Raises:
        UserError: pyarrow is not installed, or the file is missing or damaged.
    """
    file = open_parquet(path)
    from pyarrow import ArrowException

    names = tuple(file.schema_arrow.names)
    if twice := sorted(name for name, count in Counter(names).items() if count > 1 and name in wanted):
        raise UserError(f"{path}: the column {twice[0]!r} is there twice; rename one of them")
    classes = class_names(file.schema_arrow.metadata or {})

    def rows() -> Iterator[tuple[int, Mapping[str, Any]]]:
        number = 0
        try:
            present = [name for name in names if name in wanted]
            for batch in file.iter_batches(batch_rows(file), columns=present):
                for cells in batch.to_pylist():
                    number += 1
                    yield number, named(cells, classes, f"{path}:{number}")
        except (ArrowException, ArithmeticError, LookupError, OSError, ValueError) as error:
            raise UserError(
                f"{path} cannot be read after row {number} ({first_line(error)}); copy it again"
            ) from None

    return Records(names, rows())


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
            return parquet.ParquetFile(path)
        except (arrow.ArrowException, ValueError) as error:  # a name that is no text is a ValueError
            raise UserError(f"{path} is not a Parquet file ({first_line(error)}); copy it again") from None


def batch_rows(file: "ParquetFile") -> int:
    """How many rows to read at once, so that they take no more than some 64 MiB of memory."""
    told = file.metadata
    size = sum(told.row_group(number).total_byte_size for number in range(told.num_row_groups))
    return max(1, min(_ROWS, _BYTES * told.num_rows // max(1, size)))


def class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
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


def named(cells: Mapping[str, Any], classes: Mapping[str, list[str]], place: str) -> dict[str, Any]:
    """The cells with class numbers replaced by their names; -1 stands for no class.

    Raises:
        UserError: there is no class of that number.
    """
    found = dict(cells)
    for name, names in classes.items():
        number = found.get(name)
        if not isinstance(number, int) or isinstance(number, bool):
            continue
        if not -1 <= number < len(names):
            raise UserError(f'{place}: the column "{name}" is {number}, but there are {len(names)} classes')
        found[name] = None if number == -1 else names[number]
    return found
