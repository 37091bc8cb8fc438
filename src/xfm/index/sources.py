"""Pictures to take in: of folders, tables and tar shards, one after the other, with what is known of them."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from xfm.config.table_kinds import LISTED, table_kind
from xfm.data.folders import Scan, scan_folder
from xfm.data.records import BadRecordError, SampleKind
from xfm.data.sources import open_source
from xfm.data.tables import ColumnMap
from xfm.errors import UserError
from xfm.index.offers import Offer, PictureSupply, SupplyCut, file_stamp
from xfm.index.table_supply import TableSupply


def open_supply(
    path: Path,
    columns: ColumnMap | None = None,
    key: str | None = None,
    keep: Sequence[str] | None = None,
    known: SupplyCut | None = None,
) -> PictureSupply:
    """The pictures of a folder, a table (see `xfm.config.table_kinds`) or a tar shard.

    Args:
        path: of it.
        columns: what the columns of a table are called.
        key: the column that names pictures; `id` where there is one, else file and row do.
        keep: columns that become metadata; None takes all others.
        known: how it was cut, where parts of it are read.

    Raises:
        UserError: there is no such file or folder, it is of an unknown kind, or lacks a column.
    """
    if os.path.isdir(path):
        return FolderSupply(path, None if known is None else known.names)
    if path.suffix.lower() == ".tar":
        return ShardSupply(path)
    if table_kind(path) is not None:
        return TableSupply(path, columns or ColumnMap(), key, keep, None if known is None else known.twice)
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
        return [str(self._folder / name) for name in self._names]

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
        return self.part(0, None)

    def cut(self, size: int) -> SupplyCut:
        """See `PictureSupply.cut`."""
        return SupplyCut([*range(0, len(self._shard), size)])

    def part(self, first: int, last: int | None) -> Iterator[Offer]:
        """See `PictureSupply.part`."""
        stamp = file_stamp(self._path)
        for number in range(first, len(self._shard) if last is None else last):
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
