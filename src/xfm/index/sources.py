"""Pictures to take in: of folders, tables and tar shards, one after the other, with what is known of them."""

import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.config.table_kinds import LISTED, table_kind
from xfm.config.task_spec import Field, Holds
from xfm.data.folders import FolderReport, scan_folder
from xfm.data.records import BadRecordError, SampleKind
from xfm.data.sources import open_source
from xfm.data.tables import ColumnMap, TableRow, open_table
from xfm.data.tables.records import RawRow
from xfm.errors import UserError
from xfm.index.conditions import Metadata, read_metadata
from xfm.inference.picture_inputs import PictureSource
from xfm.paths import is_url

IMAGE = Field("image", holds=Holds.PICTURE)
KEY = "id"
"""The column that names pictures, where a table has one and nothing else was said."""


@dataclass(frozen=True)
class Offer:
    """A picture that may be taken in.

    Attributes:
        key: its name in the collection.
        source: where it is, for people.
        picture: as pipelines take pictures; an error where there is none.
        stamp: changes when the picture, or what is known of it, does.
        metadata: what conditions can be about.
        read: how far the source is read up to its end, for a progress bar.
    """

    key: str
    source: str
    picture: PictureSource | UserError
    stamp: str = ""
    metadata: Metadata = field(default_factory=dict)
    read: int = 0


class PictureSupply(ABC):
    """Pictures in a fixed order.

    Attributes:
        total: length in the unit of `Offer.read`, None where it is not known.
        unit: of a progress bar.
        report: what else is in a folder, None where there is nothing to say.
        left_out: fields of rows that cannot be metadata, such as lists, and in how many rows.
    """

    total: int | None = None
    unit: str = "picture"
    report: FolderReport | None = None

    def __init__(self) -> None:
        self.left_out: dict[str, int] = {}

    @abstractmethod
    def candidates(self) -> Iterator[Offer]:
        """The pictures; raises UserError where the source cannot be read on."""

    def metadata(self, cells: Mapping[str, Any]) -> Metadata:
        """What of some cells can be metadata; the others are counted."""
        found, others = read_metadata(cells)
        for name in others:
            self.left_out[name] = self.left_out.get(name, 0) + 1
        return found


def open_supply(
    path: Path, columns: ColumnMap | None = None, key: str | None = None, keep: Sequence[str] | None = None
) -> PictureSupply:
    """The pictures of a folder, a table (see `xfm.config.table_kinds`) or a tar shard.

    Args:
        path: of it.
        columns: what the columns of a table are called.
        key: the column that names pictures; `id` where there is one, else file and row do.
        keep: columns that become metadata; None takes all others.

    Raises:
        UserError: there is no such file or folder, it is of an unknown kind, or lacks a column.
    """
    if os.path.isdir(path):
        return FolderSupply(path)
    if path.suffix.lower() == ".tar":
        return ShardSupply(path)
    if table_kind(path) is not None:
        return TableSupply(path, columns or ColumnMap(), key, keep)
    if not os.path.lexists(path):
        raise UserError(f"{path} does not exist; check the path")
    raise UserError(f"{path} is neither a folder of pictures nor a file of {LISTED}; rename or convert it")


class FolderSupply(PictureSupply):
    """The pictures of a folder and those below it, in the order of their paths, which are their keys."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._folder = Path(os.path.abspath(path))
        scan = scan_folder(self._folder)
        self._names = scan.pictures
        self.report = scan.report(path) if scan.passed else None
        self.total = len(self._names)

    def keys(self) -> list[str]:
        """The keys of all pictures; none is looked at."""
        return [str(self._folder / name) for name in self._names]

    def candidates(self) -> Iterator[Offer]:
        """See `PictureSupply.candidates`; the metadata are name and folder."""
        for number, name in enumerate(self._names, start=1):
            path = self._folder / name
            metadata = {"name": path.name, "folder": str(Path(name).parent)}
            yield Offer(str(path), str(path), path, file_stamp(path), metadata, number)


class ShardSupply(PictureSupply):
    """The pictures of a tar shard in the WebDataset layout; the JSON beside a picture is its metadata."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self._path, self._shard = path, open_source(path, SampleKind.PAIR)
        self.total = len(self._shard)

    def candidates(self) -> Iterator[Offer]:
        """See `PictureSupply.candidates`."""
        stamp = file_stamp(self._path)
        for number in range(len(self._shard)):
            try:
                record = self._shard.record(number)
            except BadRecordError as error:
                key = f"{self._path.name}/{error.origin.key}"
                yield Offer(
                    key, f"{self._path}/{error.origin.key}", UserError(str(error)), stamp, {}, number + 1
                )
                continue
            key, shown = f"{self._path.name}/{record.origin.key}", f"{self._path}/{record.origin.key}"
            assert record.picture is not None
            told = self.metadata(record.annotation)
            yield Offer(key, shown, record.picture, stamp, told, number + 1)


class TableSupply(PictureSupply):
    """The pictures that a table names or holds."""

    def __init__(self, path: Path, columns: ColumnMap, key: str | None, keep: Sequence[str] | None) -> None:
        super().__init__()
        self._path, self._columns, self._key, self._keep = path, columns, key, keep
        columns.check_fields([IMAGE])
        self._table = open_table(path)
        self.total, self.unit = self._table.size, self._table.unit
        if (present := self._table.columns) is not None:
            columns.check_columns([IMAGE], present, path)
            for name in [*(keep or ()), *([key] if key else ())]:
                if name not in present:
                    raise UserError(f"{path} has no column {name}, only {', '.join(present)}")
        self._named: dict[str, int] = {}

    def candidates(self) -> Iterator[Offer]:
        """See `PictureSupply.candidates`."""
        for raw in self._table.rows(frozenset(self._table.columns or ())):
            yield self._candidate(raw)

    def _candidate(self, raw: RawRow) -> Offer:
        place = f"{self._path}:{raw.number}"
        try:
            cells = raw.checked(self._path)
            self._columns.check_columns([IMAGE], cells, place, others=True)
            names = self._columns.places([IMAGE], cells)
            row = TableRow.picked(cells, self._path, raw.number, names)
            picture, stamp = self._picture(row)
            key = self._name(cells, raw.number)
            others = {name: value for name, value in cells.items() if self._is_told(name, names)}
            told = self.metadata(others)
        except UserError as error:
            return Offer(f"{self._path.name}:{raw.number}", place, error, "", {}, raw.read)
        shown = str(picture) if isinstance(picture, Path) else place
        whole = hashlib.blake2b(json.dumps([stamp, told], sort_keys=True).encode(), digest_size=16)
        return Offer(key, shown, picture, whole.hexdigest(), told, raw.read)

    def _is_told(self, name: str, names: Mapping[str, str]) -> bool:
        if name in names.values():
            return False
        return name in self._keep if self._keep is not None else True

    def _picture(self, row: TableRow) -> tuple[PictureSource, str]:
        """The picture of a row, and what tells it from a changed one."""
        value = row.get(IMAGE.name)
        if isinstance(value, bytes):
            return value, hashlib.blake2b(value, digest_size=16).hexdigest()
        if isinstance(value, str) and is_url(value):
            raise row.error(IMAGE.name, "is an address, and a collection takes files only; download it")
        path = row.path(IMAGE.name)
        return path, file_stamp(path)

    def _name(self, cells: Mapping[str, Any], number: int) -> str:
        """The key of a row."""
        column = self._key or KEY
        value = cells.get(column)
        if value is None and self._key is None:
            return f"{self._path.name}:{number}"
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise UserError(
                f'{self._path}:{number}: the column "{column}" names the picture, and is no text or whole '
                "number; mend the row, or take another column with --key"
            )
        key = str(value)
        before = self._named.setdefault(key, number)
        if before != number:
            raise UserError(
                f'{self._path}:{number}: the column "{column}" is {key}, as in row {before}; names must '
                "differ"
            )
        return key


def file_stamp(path: Path) -> str:
    """What tells a file from a changed one; empty where it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}"
