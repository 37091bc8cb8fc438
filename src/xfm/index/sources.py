"""Pictures to take in: of folders, tables and tar shards, one after the other, with what is known of them."""

import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from xfm.config.table_kinds import LISTED, table_kind
from xfm.data.folders import Scan, scan_folder
from xfm.data.records import BadRecordError, NoAnnotation, Record, SampleKind, is_text
from xfm.data.schema import Origin
from xfm.data.sources import RecordSource, open_source
from xfm.data.tables import ColumnMap
from xfm.errors import UserError, printable
from xfm.index.conditions import Metadata
from xfm.index.offers import Offer, PictureSupply, SupplyCut, file_stamp, told_stamp
from xfm.index.table_supply import TableSupply


def open_supply(
    path: Path,
    columns: ColumnMap | None = None,
    key: str | None = None,
    keep: Sequence[str] | None = None,
    as_text: Sequence[str] = (),
    known: SupplyCut | None = None,
    root: Path | None = None,
) -> PictureSupply:
    """The pictures of a folder, a table (see `xfm.config.table_kinds`) or tar shards.

    Args:
        path: of it.
        columns: what the columns of a table are called.
        key: the column that names pictures; `id` where there is one, else file and row do.
        keep: columns of a table, or fields of a shard's JSON, that become metadata; None takes all others.
        as_text: columns of a CSV or TSV file that stay texts though they hold nothing but numbers.
        known: how it was cut, where parts of it are read.
        root: folder that paths in a table start from, and do not leave; its own if not given.

    Raises:
        UserError: there is no such file or folder, it is of an unknown kind, or lacks a column.
    """
    if os.path.isdir(path):
        folder = FolderSupply(path, None if known is None else known.names)
        shards = not folder.total and any(name.endswith(".tar") for name in os.listdir(path))
        return ShardSupply(path, keep) if shards else folder
    if path.suffix.lower() == ".tar":
        return ShardSupply(path, keep)
    if table_kind(path) is not None:
        return TableSupply(path, columns or ColumnMap(), key, keep, as_text, known, root)
    if not os.path.lexists(path):
        raise UserError(f"{path} does not exist; check the path")
    raise UserError(f"{path} is neither a folder of pictures nor a file of {LISTED}; rename or convert it")


class FolderSupply(PictureSupply):
    """The pictures of a folder and those below it, in the order of their paths, which are their keys.

    Args:
        path: of the folder.
        names: of its pictures, where they are known.
    """

    def __init__(self, path: Path, names: Sequence[str] | None = None) -> None:
        super().__init__()
        self._folder = Path(os.path.abspath(path))
        scan = scan_folder(self._folder) if names is None else Scan([*names])
        self._names = scan.pictures
        self.report = scan.report(path) if scan.passed else None
        self.total = len(self._names)

    def keys(self) -> list[str]:
        """The keys of all pictures; none is looked at."""
        return [_named(self._folder / name) for name in self._names]

    def candidates(self) -> Iterator[Offer]:
        """See `PictureSupply.candidates`; the metadata are name and folder."""
        return self.part(1, None)

    def cut(self, size: int) -> SupplyCut:
        """See `PictureSupply.cut`."""
        return SupplyCut([*range(1, len(self._names) + 1, size)], self._names)

    def part(self, first: int, last: int | None) -> Iterator[Offer]:
        """See `PictureSupply.part`."""
        for number in range(first, len(self._names) + 1 if last is None else last):
            name = self._names[number - 1]
            path = self._folder / name
            if not is_text(str(path)):  # nothing that keeps rows could hold it
                told = UserError(f"{path}: the name is not UTF-8; rename the file")
                yield Offer(_named(path), _named(path), told, file_stamp(path), {}, number)
                continue
            metadata = {"name": path.name, "folder": str(Path(name).parent)}
            yield Offer(str(path), str(path), path, file_stamp(path), metadata, number)


def _named(path: Path) -> str:
    """A path as a key; with escapes where it is not UTF-8."""
    return str(path) if is_text(str(path)) else printable(str(path))


class ShardSupply(PictureSupply):
    """The pictures of tar shards in the WebDataset layout; what JSON is beside one is its metadata.

    Args:
        path: of a shard, of a folder of them, or a pattern or range as corpora have it, which ends in .tar.
        keep: fields of the JSON that become metadata; None takes all.
    """

    def __init__(self, path: Path, keep: Sequence[str] | None = None) -> None:
        super().__init__()
        self._path, self._keep, self._pairs = path, keep, open_source(path, SampleKind.PAIR)
        self.total = len(self._pairs)

    def candidates(self) -> Iterator[Offer]:
        """See `PictureSupply.candidates`."""
        return self.part(0, None)

    def cut(self, size: int) -> SupplyCut:
        """See `PictureSupply.cut`."""
        return SupplyCut([*range(0, len(self._pairs), size)])

    def part(self, first: int, last: int | None) -> Iterator[Offer]:
        """See `PictureSupply.part`."""
        stamp = cache(lambda shard: file_stamp(Path(shard)))  # of this time
        for number in range(first, len(self._pairs) if last is None else last):
            try:
                record = self._record(number)
            except BadRecordError as error:
                of = stamp(error.origin.shard)
                yield self._offer(error.origin, UserError(str(error)), of, {}, number)
                continue
            assert record.picture is not None
            try:
                told = self.metadata(self._kept(record.annotation))
            except UserError as error:
                yield self._offer(record.origin, UserError(f"{record.origin}: {error}"), "", {}, number)
                continue
            of = told_stamp(stamp(record.origin.shard), told)
            yield self._offer(record.origin, record.picture, of, told, number)

    @cached_property
    def _pictures(self) -> RecordSource:
        return open_source(self._path, SampleKind.IMAGE)

    def _record(self, number: int) -> Record:
        try:
            return self._pairs.record(number)
        except NoAnnotation:
            return self._pictures.record(number)

    def _offer(
        self, origin: Origin, picture: bytes | UserError, stamp: str, told: Metadata, number: int
    ) -> Offer:
        # Other folders, and other shards of this one, may have pictures of the same name.
        key = f"{os.path.abspath(origin.shard)}/{origin.key}"
        return Offer(key, f"{origin.shard}/{origin.key}", picture, stamp, told, number + 1)

    def _kept(self, cells: Mapping[str, Any]) -> Mapping[str, Any]:
        return cells if self._keep is None else {name: cells[name] for name in self._keep if name in cells}
