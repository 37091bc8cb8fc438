"""Any table as rows with the fields of a task."""

import os
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import numpy as np

from xfm.config.tables import LISTED, table_kind
from xfm.core.errors import UserError
from xfm.core.files import reading
from xfm.core.paths import at_home
from xfm.data.folders import scan_classes
from xfm.data.images import PICTURE_SUFFIXES
from xfm.data.skipped import SkippedRecords
from xfm.data.tables.columns import ColumnMap, Field
from xfm.data.tables.delimited import read_delimited
from xfm.data.tables.json_list import read_json_records
from xfm.data.tables.objects import PREFIX, InMemory, read_hub, read_objects
from xfm.data.tables.parquet import read_parquet
from xfm.data.tables.records import RawRow, Records
from xfm.data.tables.rows import TableRow


def read_table(
    source: str | Path | InMemory,
    fields: Sequence[Field],
    columns: ColumnMap,
    store: Path,
    root: Path | None = None,
    left_out: SkippedRecords | None = None,
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
    (left_out or SkippedRecords()).folder(records.report)
    names: dict[str, str] = {}
    if records.columns is not None:
        columns.check_columns(fields, records.columns, place)
        names = columns.places(fields, records.columns)
    rows: list[TableRow] = []
    for raw in records.rows(wanted):
        cells = raw.checked(place)
        if records.columns is None:
            columns.check_columns(fields, cells, f"{place}:{raw.number}", others=bool(rows))
            names = columns.places(fields, cells)
        rows.append(TableRow.picked(raw, place, names, root, free).unpacked(fields, store))
    if not rows:
        raise UserError(f"{place} holds no rows; check the path")
    return rows


def open_table(source: str | Path | InMemory) -> Records:
    """A table whose rows are read one after the other, of the sources of `read_table`. Raises UserError."""
    if isinstance(source, InMemory):
        return read_objects(source)
    if str(source).startswith(PREFIX) and not os.path.lexists(source):
        return read_hub(str(source))
    path = Path(source)
    if os.path.isdir(path):  # of a name that is too long, `Path.is_dir` raises
        return read_folder(path)
    reader = _READERS.get(table_kind(path) or "")
    if reader is None:
        kinds = f"{LISTED} files, folders with a folder of pictures a class, or hub:OWNER/NAME"
        raise UserError(f"{path}: tables are {kinds}; rename or convert the file")
    return reader(path)


def parts_reader(table: Records, wanted: frozenset[str]) -> Callable[[int, int | None], Iterator[RawRow]]:
    """Reads runs of rows of a table, from a number to before another (None: the end), best in order."""
    ahead: tuple[RawRow, Iterator[RawRow]] | None = None  # the next row, and those after it

    def part(first: int, last: int | None) -> Iterator[RawRow]:
        nonlocal ahead
        if ahead is None or ahead[0].number > first:
            begun, rows = list[RawRow](), iter(table.rows(wanted))
        else:
            begun, rows = [ahead[0]], ahead[1]
        ahead = None
        for raw in chain(begun, rows):
            if last is not None and raw.number >= last:
                ahead = raw, rows
                return
            if raw.number >= first:
                yield raw

    return part


def open_folder(path: Path) -> tuple[dict[str, list[str]], str]:
    """Images below `path`/CLASS/ by class, and a sentence about the rest. Raises UserError without images."""
    if not path.is_dir():
        raise UserError(f"{path} does not exist; put a folder there with a folder of pictures a class")
    with reading(path):
        classes, report = scan_classes(path)
    if not classes:
        told = f"no pictures ({', '.join(sorted(PICTURE_SUFFIXES))}) in folders, one a class"
        raise UserError(f"{path} holds {told}{report and f' ({report})'}; put them there")
    return classes, report


def read_folder(path: Path) -> Records:
    """Every image below `path`/CLASS/, as columns `image` and `label`. Raises UserError."""
    classes, report = open_folder(path)
    root = path.absolute()

    def rows(wanted: frozenset[str]) -> Iterator[RawRow]:
        pairs = ((root / label / name, label) for label, names in classes.items() for name in names)
        for number, (file, label) in enumerate(pairs, start=1):
            yield RawRow(number, {"image": file, "label": label}, number)

    return Records(("image", "label"), rows, sum(map(len, classes.values())), report=report)


def split_rows(
    groups: Sequence[Hashable], strata: Sequence[Hashable], shares: Mapping[str, float], seed: int
) -> dict[str, list[int]]:
    """Row numbers of each part and of the `rest`, in rising order. Rows of a group (such as an image) stay
    together. Of each stratum (groups whose first row is of one class) each part takes its share, rounded,
    with what rounding kept from it in the strata before; every stratum leaves a group to the rest."""
    found: dict[str, list[int]] = {name: [] for name in (*shares, "rest")}
    owed = dict.fromkeys(shares, 0.0)  # what rounding kept from each part so far
    for order in drawn_units(groups, strata, seed):
        size = sum(map(len, order))
        for name, share in shares.items():
            wanted = share * size + owed[name]
            taken = 0
            while len(order) > 1 and len(order[-1]) / 2 <= wanted - taken:
                unit = order.pop()
                found[name] += unit
                taken += len(unit)
            owed[name] = wanted - taken
        found["rest"] += [row for unit in order for row in unit]
    return {name: sorted(rows) for name, rows in found.items()}


def drawn_units(
    groups: Sequence[Hashable], strata: Sequence[Hashable], seed: int
) -> Iterator[list[list[int]]]:
    """The groups of each stratum, those whose first row is of one class, as row numbers in a drawn order."""
    members: dict[Hashable, list[int]] = defaultdict(list)
    for row, group in enumerate(groups):
        members[group].append(row)
    by_stratum: dict[Hashable, list[list[int]]] = defaultdict(list)
    for rows in members.values():
        by_stratum[strata[rows[0]]].append(rows)
    rng = np.random.default_rng(seed)
    for units in by_stratum.values():
        yield [units[place] for place in rng.permutation(len(units)).tolist()]


_READERS: dict[str, Callable[[Path], Records]] = {
    **dict.fromkeys((".jsonl", ".ndjson", ".json"), read_json_records),
    ".csv": read_delimited,
    ".tsv": read_delimited,
    ".parquet": read_parquet,
}
"""By the kinds of `xfm.config.tables`."""
