"""Pictures to take in: of folders, tables and tar shards."""

import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.config.tables import LISTED, table_kind
from xfm.config.task_spec import Field, FieldKind
from xfm.core.errors import UserError, excerpt, printable
from xfm.core.paths import is_url
from xfm.data.folders import passed_over, scan_folder
from xfm.data.records import BadRecordError, NoAnnotation, SampleKind, is_text
from xfm.data.sources import RecordSource, open_source
from xfm.data.tables import ColumnMap, TableRow, open_table
from xfm.data.tables.records import RawRow
from xfm.inference.input_parsing import PictureSource
from xfm.search.filters import ColumnKind, Kind, Metadata, can_be_kept, columns_seen, number_in, read_metadata
from xfm.search.store import digest


@dataclass(frozen=True)
class EncodedImage:
    """A picture that another process encoded: its PNG, original size, pixels' key, and unit vector [E]
    float32."""

    pixels: bytes = field(repr=False)
    width: int
    height: int
    key: bytes
    vector: NDArray[np.float32] = field(repr=False)


@dataclass(frozen=True)
class IngestItem:
    """A picture that may be taken in, with key, source for messages, and metadata.

    `stamp` changes with the picture or its metadata; `table` is the table whose column gives the key, and
    `replaces` whether it takes the place of another table's picture.
    """

    key: str
    source: str
    picture: PictureSource | EncodedImage | UserError
    stamp: str = ""
    metadata: Metadata = field(default_factory=dict)
    table: str = ""
    replaces: bool = False


TAKEN, CAMERA = "taken", "camera"
"""Fields of photographs: the day, and the model of the camera."""


class ImageSupply(ABC):
    """Pictures in a fixed order; `total` is None where unknown.

    `report` tells what else a folder holds; `left_out` counts fields that cannot be metadata, such as lists.
    """

    total: int | None = None
    report: str = ""

    def __init__(self, keep: Sequence[str] | None = None) -> None:
        self.left_out: dict[str, int] = {}
        self._keep = keep

    @abstractmethod
    def candidates(self) -> Iterator[IngestItem]:
        """All pictures; UserError where reading fails."""

    def columns(self) -> Mapping[str, ColumnKind]:
        """Column types of a table of texts, by all rows; empty where cells have types. Raises UserError."""
        return {}

    def metadata(self, cells: Mapping[str, Any]) -> Metadata:
        """Cells that are kept and can be metadata; what cannot be is counted."""
        keep = cells if self._keep is None else self._keep
        found, others = read_metadata({name: cell for name, cell in cells.items() if name in keep})
        for name in others:
            self.left_out[name] = self.left_out.get(name, 0) + 1
        return found


def file_stamp(path: Path) -> str:
    """Size and time of a file; empty where it cannot be seen."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size}-{found.st_mtime_ns}"


def told_stamp(stamp: str, told: Metadata) -> str:
    """A file's stamp together with a picture's metadata."""
    return digest(json.dumps([stamp, dict(told)], sort_keys=True).encode()).hex()


IMAGE = Field("image", holds=FieldKind.PICTURE)
KEY = "id"
"""The column that names pictures, where a table has one and nothing else was said."""


def open_supply(
    path: Path,
    columns: ColumnMap | None = None,
    key: str | None = None,
    keep: Sequence[str] | None = None,
    as_text: Sequence[str] = (),
    root: Path | None = None,
) -> ImageSupply:
    """Pictures of a folder, a table (see `xfm.config.tables`) or tar shards.

    `key` is the column of names, by default `id`, else file and row; `keep` limits the metadata; `as_text`
    columns stay texts; paths stay below `root`. UserError: nothing of the kind.
    """
    if os.path.isdir(path):
        folder = FolderSupply(path, keep)
        shards = not folder.total and any(name.endswith(".tar") for name in os.listdir(path))
        return ShardSupply(path, keep) if shards else folder
    if path.suffix.lower() == ".tar":
        return ShardSupply(path, keep)
    if table_kind(path) is not None:
        return TableSupply(path, columns or ColumnMap(), key, keep, as_text, root)
    if not os.path.lexists(path):
        raise UserError(f"{path} does not exist; check the path")
    raise UserError(f"{path} is neither a folder of pictures nor a file of {LISTED}; rename or convert it")


class FolderSupply(ImageSupply):
    """Pictures of a folder and those below it; their paths are keys."""

    def __init__(self, path: Path, keep: Sequence[str] | None = None) -> None:
        super().__init__(keep)
        self._folder = Path(os.path.abspath(path))
        self._names, passed = scan_folder(self._folder)
        self.report = passed_over(path, passed)
        self.total = len(self._names)

    def keys(self) -> list[str]:
        """Keys of all pictures."""
        return [_named(self._folder / name) for name in self._names]

    def candidates(self) -> Iterator[IngestItem]:
        """Pictures with name and folder as metadata, and empty ones for `with_exif`."""
        for name in self._names:
            path = picture = self._folder / name
            if not is_text(str(path)):  # nothing that keeps rows could hold it
                picture = UserError(f"{path}: the name is not UTF-8; rename the file")
            told = {"name": path.name, "folder": Path(name).parent.as_posix(), TAKEN: "", CAMERA: ""}
            told = {field: one for field, one in told.items() if self._keep is None or field in self._keep}
            yield IngestItem(_named(path), _named(path), picture, told_stamp(file_stamp(path), told), told)


def _named(path: Path) -> str:
    return str(path) if is_text(str(path)) else printable(str(path))


class ShardSupply(ImageSupply):
    """Pictures of WebDataset tar shards, or a pattern of them; JSON beside a picture is metadata."""

    def __init__(self, path: Path, keep: Sequence[str] | None = None) -> None:
        super().__init__(keep)
        self._path, self._pairs = path, open_source(path, SampleKind.PAIR)
        self.total = len(self._pairs)

    def candidates(self) -> Iterator[IngestItem]:
        """See `ImageSupply.candidates`."""
        stamp = cache(lambda shard: file_stamp(Path(shard)))  # of this time
        for number in range(len(self._pairs)):
            told: Metadata = {}
            try:
                try:
                    record = self._pairs.record(number)
                except NoAnnotation:
                    record = self._pictures.record(number)
                origin, picture = record.origin, record.picture
                assert picture is not None
                try:
                    told = self.metadata(record.annotation)
                    of = told_stamp(stamp(origin.shard), told)
                except UserError as error:
                    picture, of = UserError(f"{origin}: {error}"), ""
            except BadRecordError as error:
                origin, picture, of = error.origin, UserError(str(error)), stamp(error.origin.shard)
            # Other folders, and other shards of this one, may have pictures of the same name.
            key = f"{os.path.abspath(origin.shard)}/{origin.key}"
            yield IngestItem(key, f"{origin.shard}/{origin.key}", picture, of, told)

    @cached_property
    def _pictures(self) -> RecordSource:
        return open_source(self._path, SampleKind.IMAGE)


class TableSupply(ImageSupply):
    """Pictures that a table names or holds, see `open_supply`."""

    def __init__(
        self,
        path: Path,
        columns: ColumnMap,
        key: str | None,
        keep: Sequence[str] | None,
        as_text: Sequence[str] = (),
        root: Path | None = None,
    ) -> None:
        super().__init__(keep)
        self._path, self._columns, self._key = path, columns, key
        self._as_text, self._root = as_text, root
        self._whole = os.path.abspath(path)  # other folders may have tables of the same name
        columns.check_fields([IMAGE])
        self._table = open_table(path)
        self.total = self._table.size if self._table.unit == "row" else None  # else it is of bytes
        if self.total is None and next(iter(self._table.rows(frozenset())), None) is None:
            self.total = 0
        if (present := self._table.columns) is not None:
            columns.check_columns([IMAGE], present, path)
            for name in [*(keep or ()), *([key] if key else ()), *as_text]:
                if name not in present:
                    raise UserError(f"{path} has no column {name}, only {', '.join(present)}")
        self._named = dict[str, int]()
        self._seen: Mapping[str, ColumnKind] | None = None

    def candidates(self) -> Iterator[IngestItem]:
        """See `ImageSupply.candidates`."""
        return map(self._candidate, self._table.rows(frozenset(self._table.columns or ())))

    def columns(self) -> Mapping[str, ColumnKind]:
        """See `ImageSupply.columns`."""
        present = self._table.columns
        if self._table.typed or present is None:
            return {}
        if self._seen is None:
            images = self._columns.places([IMAGE], present).values()
            keep = present if self._keep is None else self._keep
            told = [name for name in present if name not in images and name in keep]
            self._seen = columns_seen(self._path, self._table.rows(frozenset(told)), told, self._as_text)
        return self._seen

    def _candidate(self, raw: RawRow) -> IngestItem:
        place, own = f"{self._path}:{raw.number}", f"{self._whole}:{raw.number}"
        try:
            row = TableRow.read(raw, self._path, [IMAGE], self._columns, self._root)
            value = row.get(IMAGE.name)
            if isinstance(value, str) and is_url(value):
                raise row.error(IMAGE.name, "is an address, and a collection takes files only; download it")
            picture = value if isinstance(value, bytes) else row.path(IMAGE.name)
            stamp = file_stamp(picture) if isinstance(picture, Path) else digest(picture).hex()
            key, images = self._name(raw.cells, raw.number) or own, row.names.values()
            others = {name: cell for name, cell in raw.cells.items() if name not in images}
            told = self.metadata({name: self._told(name, cell, place) for name, cell in others.items()})
        except UserError as error:
            return IngestItem(own, place, error)
        shown = str(picture) if isinstance(picture, Path) else place
        table, stamp = "" if key == own else self._whole, told_stamp(stamp, told)
        return IngestItem(key, shown, picture, stamp, told, table, replaces=self._key is not None)

    def _told(self, name: str, cell: Any, place: str) -> Any:
        seen = self.columns().get(name) if cell else None
        if seen is None or seen.kind is not Kind.NUMBER:
            return cell
        if (number := number_in(cell)) is None:
            raise UserError(
                f"{place}: {name} held numbers when the table was looked through, and is {excerpt(cell)!r} "
                "now: run the command again when nobody writes the table"
            )
        return number

    def _name(self, cells: Mapping[str, Any], number: int) -> str | None:
        column = self._key or KEY
        value = cells.get(column)
        if value is None and self._key is None:
            return None
        place = f'{self._path}:{number}: the column "{column}"'
        key = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
        told = f"{place} names the picture, and is"
        if not key.strip():
            raise UserError(
                f"{told} no text or whole number; mend the row, or take another column with --key"
            )
        if not can_be_kept(key):
            raise UserError(f"{told} not Unicode, or has a zero byte; mend the row")
        before = self._named.setdefault(key, number)  # the first row of this name
        if before != number:
            raise UserError(f"{place} is {key}, as in row {before}; names must differ")
        return key
