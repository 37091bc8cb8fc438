"""Tables that a program holds: a DataFrame, a data set, a list of dictionaries, a dictionary of columns.

Libraries are told by what their objects can do: none of them has to be installed.
"""

import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import islice, repeat
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from PIL import Image
from torch import Tensor

from xfm.core.errors import UserError, excerpt, explained, import_extra
from xfm.core.files import path_below
from xfm.data.tables.records import RawRow, Records, named_row, refuse_double_columns

Table: TypeAlias = str | Path | object
"""What Python functions take for a table: a path or a name as commands do, or rows in memory."""
KINDS = "a path, a DataFrame, a data set, a list of dictionaries, or a dictionary with a list for each column"
_VALIDATION = dict.fromkeys(("validation", "valid", "val", "dev"), "validation")
SPLITS = {"train": "train", **_VALIDATION, "test": "test"}
"""Names that the splits of a data set have, and what they are called here."""
_PART = 256
"""Rows of a frame that are taken out at once."""


@dataclass(frozen=True, eq=False)
class InMemory:
    """A table in memory: a frame, pyarrow table, data set, rows or columns."""

    rows: Any
    name: str

    def __str__(self) -> str:
        return self.name


def as_table(given: Table, name: str) -> str | Path | InMemory:
    """A table as readers take it: paths as they are, objects with a name. Raises UserError."""
    if isinstance(given, str | Path | InMemory):
        return given
    of_rows = "__iter__" in (able := {*dir(type(given))}) or {"__len__", "__getitem__"} <= able
    if isinstance(given, type | bytes | set | frozenset | Iterator | np.ndarray | Tensor) or not of_rows:
        raise UserError(f"{name} is of type {type(given).__name__}; give {KINDS}")
    return InMemory(given, f"{name} ({type(given).__name__})")


def as_splits(train: Table, valid: Table | None, test: Table | None) -> dict[str, str | Path | InMemory]:
    """Tables by `train`, `validation` and `test`; `train` may map splits to tables. Raises UserError."""
    found: dict[str, Table] = {"train": train}
    if isinstance(train, Mapping) and "train" in train:
        found = {}
        for name, table in train.items():
            if (split := SPLITS.get(str(name))) is None:
                raise UserError(f"train: a fine-tuning has no split {excerpt(str(name))!r}; take it out")
            if split in found:
                raise UserError(f"train: the split {split} is there twice, as {name} too; leave one out")
            found[split] = table
    for split, table in (("validation", valid), ("test", test)):
        if table is not None and split in found:
            raise UserError(f"{split} rows stand in train already; leave one of the two out")
        if table is not None:
            found[split] = table
    return {split: as_table(table, split) for split, table in found.items()}


def read_objects(table: InMemory) -> Records:
    """The rows of a table in memory, numbered from 1. Raises UserError."""
    given = table.rows
    if isinstance(given, Mapping):
        return _of_columns(table, given)
    if hasattr(given, "iloc") and hasattr(given, "columns"):
        return _known(table, [*map(str, given.columns)], partial(_pandas, given), len(given))
    if hasattr(given, "iter_rows") and hasattr(given, "columns"):
        columns, size = [*given.columns], len(given)
        return _known(table, columns, lambda names: given.select(names).iter_rows(named=True), size)
    if hasattr(given, "to_batches") and hasattr(given, "schema"):
        return _arrow(table, given)
    names = getattr(given, "column_names", None)
    if names and not isinstance(names, Mapping) and hasattr(given, "cast_column"):
        return _data_set(table, given, names)
    return Records(None, lambda _: _each(given), len(given) if hasattr(given, "__len__") else None)


def _known(
    table: InMemory,
    names: Sequence[str],
    read: Callable[[list[str]], Iterable[Mapping[str, Any]]],
    size: int | None,
    classes: Mapping[str, list[str]] | None = None,
) -> Records:
    refuse_double_columns(table, names)

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        chosen = [name for name in names if name in wanted]
        found = read(chosen) if chosen or size is None else repeat({}, size)
        for number, cells in enumerate(found, start=1):
            yield named_row(number, {name: plain_cell(cell) for name, cell in cells.items()}, classes or {})

    return Records(tuple(names), rows, size)


def _of_columns(table: InMemory, given: Mapping[Any, Any]) -> Records:
    columns = {str(n): own.tolist() if hasattr(own, "iloc") else own for n, own in given.items()}
    for name, column in columns.items():
        if isinstance(column, str | bytes | Mapping) or not hasattr(column, "__len__"):
            raise UserError(f"{table}: the column {excerpt(name)!r} is no list; give a list for each column")
    lengths = {len(column) for column in columns.values()}
    if len(lengths) > 1:
        shown = ", ".join(f"{len(column)} of {excerpt(name)}" for name, column in columns.items())
        raise UserError(f"{table}: the columns have not the same length ({shown}); mend them")
    size = max(lengths, default=0)

    def read(wanted: list[str]) -> Iterator[Mapping[str, Any]]:
        return ({name: columns[name][place] for name in wanted} for place in range(size))

    return _known(table, [*columns], read, size)


def _pandas(frame: Any, wanted: list[str]) -> Iterator[Mapping[str, Any]]:
    places = [place for place, name in enumerate(frame.columns) if str(name) in wanted]
    for start in range(0, len(frame), _PART):
        part = frame.iloc[start : start + _PART, places].astype(object)
        part.columns = [str(name) for name in part.columns]
        filled = part.where(part.notna(), None)  # its empty cells are of many kinds
        yield from filled.to_dict("records")


def _arrow(table: InMemory, given: Any) -> Records:
    from xfm.data.tables.parquet import class_names, rows_of

    def read(wanted: list[str]) -> Iterator[Mapping[str, Any]]:
        for batch in given.select(wanted).to_batches(max_chunksize=_PART):
            yield from rows_of(batch)

    classes = class_names((given.schema.metadata or {}).get(b"huggingface", b""))
    return _known(table, given.schema.names, read, len(given), classes)


def _data_set(
    table: InMemory, given: Any, names: Sequence[str], stored: Callable[[Any], Any] = lambda cell: cell
) -> Records:
    features = given.features or {}
    classes = {name: [*own] for name, kind in features.items() if (own := getattr(kind, "names", None))}

    def read(wanted: list[str]) -> Iterator[Mapping[str, Any]]:
        picked = given.select_columns(wanted)
        if hasattr(picked, "with_format"):
            picked = picked.with_format(None)
        for name in wanted:
            kind: Any = features.get(name)
            if hasattr(kind, "decode") and type(kind).__name__ == "Image":
                picked = picked.cast_column(name, type(kind)(decode=False))
        for cells in picked:
            yield {name: stored(cells[name]) for name in wanted}

    return _known(table, names, read, len(given) if hasattr(given, "__len__") else None, classes)


def _each(given: Any) -> Iterator[RawRow]:
    rows = given if "__iter__" in {*dir(type(given))} else (given[place] for place in range(len(given)))
    for number, row in enumerate(rows, start=1):
        if isinstance(row, Mapping):
            yield RawRow(number, {str(name): plain_cell(cell) for name, cell in row.items()}, number)
        else:
            flaw = f"the row is of type {type(row).__name__}, no dictionary; give one with a value a column"
            yield RawRow(number, read=number, flaw=flaw)


def beginning(table: InMemory) -> str:
    """A digest of the columns and the first two rows, by which a table is known again."""
    records = read_objects(table)
    found = sha256(repr(records.columns).encode())
    for raw in islice(records.rows(frozenset(records.columns or ())), 2):
        for name, cell in raw.cells.items():
            found.update(f"{name}\0{_mark(cell)}\n".encode(errors="surrogatepass"))
    return found.hexdigest()[:16]


def _mark(cell: Any) -> str:
    if isinstance(cell, list):
        return repr([_mark(one) for one in cell])
    if isinstance(cell, Image.Image):
        return sha256(cell.tobytes()).hexdigest()
    return sha256(cell.tobytes()).hexdigest() if isinstance(cell, np.ndarray) else repr(cell)


def plain_cell(cell: Any) -> Any:
    """A cell as files have it: numbers and lists of Python, None where it is empty; pictures stay."""
    if isinstance(cell, list | tuple):
        return [plain_cell(one) for one in cell]
    if isinstance(cell, np.generic):
        return plain_cell(cell.item())
    if isinstance(cell, np.ndarray | Tensor) and cell.ndim < 2:
        return plain_cell(cell.tolist())
    if isinstance(cell, float):
        return None if cell != cell else cell
    return None if type(cell).__name__ in ("NAType", "NaTType") else cell


# ---------------------------------------------------------------- the hub
PREFIX = "hub:"
_REFERENCE = re.compile(r"hub:(?P<name>[^:@]+)(:(?P<config>[^:@]+))?(@(?P<split>[^@]+))?")


def read_hub(reference: str) -> Records:
    """A split (`train` if none is named) of a hub data set; no code of its authors runs. Raises UserError."""
    match = _REFERENCE.fullmatch(reference)
    if match is None:
        raise UserError(f"{reference} is not hub:OWNER/NAME, hub:OWNER/NAME:CONFIG or hub:OWNER/NAME@SPLIT")
    datasets = import_extra("datasets", reference)
    with explained(f"{reference} cannot be loaded", "check name, config and split"):
        found = datasets.load_dataset(match["name"], match["config"], split=match["split"] or "train")
    place = Path(match["name"]) if os.path.isdir(match["name"]) else Path(datasets.config.HF_CACHE_HOME)

    def named(cell: Any) -> Any:
        # The library leaves images in the data set's folder or its cache; others are judged as of any table.
        if isinstance(cell, dict) and cell.keys() == {"bytes", "path"} and cell["path"] and not cell["bytes"]:
            return path_below(Path("/"), cell["path"], within=place) or cell
        return cell

    return _data_set(InMemory(found, reference), found, found.column_names, named)
