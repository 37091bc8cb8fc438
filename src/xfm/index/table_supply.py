"""The pictures of a table, to take in."""

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from xfm.config.task_spec import Field, Holds
from xfm.data.tables import ColumnMap, TableRow, open_table
from xfm.data.tables.parts import TableParts, part_starts
from xfm.data.tables.records import RawRow
from xfm.errors import UserError, excerpt
from xfm.index.column_kinds import ColumnKind, columns_seen
from xfm.index.conditions import Kind, can_be_kept, number_in
from xfm.index.offers import Offer, PictureSupply, SupplyCut, file_stamp, told_stamp
from xfm.inference.picture_inputs import PictureSource
from xfm.paths import is_url

IMAGE = Field("image", holds=Holds.PICTURE)
KEY = "id"
"""The column that names pictures, where a table has one and nothing else was said."""


class TableSupply(PictureSupply):
    """The pictures that a table names or holds.

    Args:
        path, columns, key, keep, as_text, root: see `open_supply`.
        known: how it was cut; then parts can be read.
    """

    def __init__(
        self,
        path: Path,
        columns: ColumnMap,
        key: str | None,
        keep: Sequence[str] | None,
        as_text: Sequence[str] = (),
        known: SupplyCut | None = None,
        root: Path | None = None,
    ) -> None:
        super().__init__()
        self._path, self._columns, self._key, self._keep = path, columns, key, keep
        self._as_text, self._known, self._root = as_text, known, root
        self._whole = os.path.abspath(path)  # other folders may have tables of the same name
        columns.check_fields([IMAGE])
        self._table = open_table(path)
        self.total, self.unit = self._table.size, self._table.unit
        if (present := self._table.columns) is not None:
            columns.check_columns([IMAGE], present, path)
            for name in [*(keep or ()), *([key] if key else ()), *as_text]:
                if name not in present:
                    raise UserError(f"{path} has no column {name}, only {', '.join(present)}")
        self._named = dict[str, int]()
        self._parts = TableParts(self._table, frozenset(self._table.columns or ()))

    def candidates(self) -> Iterator[Offer]:
        """See `PictureSupply.candidates`."""
        return map(self._candidate, self._table.rows(frozenset(self._table.columns or ())))

    def cut(self, size: int) -> SupplyCut:
        """See `PictureSupply.cut`; the table is read once, its column of keys alone where it can be."""
        column, twice, named = self._key or KEY, dict[int, int](), dict[str, int]()

        def looked_at() -> Iterator[RawRow]:
            for raw in self._table.rows(frozenset([column]) & frozenset(self._table.columns or [column])):
                value = raw.cells.get(column)
                if isinstance(value, str | int) and not isinstance(value, bool):
                    before = named.setdefault(str(value), raw.number)
                    if before != raw.number:
                        twice[raw.number] = before
                yield raw

        return SupplyCut(part_starts(looked_at(), size)[0], twice=twice, numbers=sorted(self._numbers))

    def columns(self) -> Mapping[str, ColumnKind]:
        """See `PictureSupply.columns`."""
        return self._seen

    @cached_property
    def _seen(self) -> Mapping[str, ColumnKind]:
        present = self._table.columns
        if self._table.typed or present is None:
            return {}
        images = self._columns.places([IMAGE], present)
        told = [name for name in present if self._is_told(name, images)]
        return columns_seen(self._path, self._table.rows(frozenset(told)), told, self._as_text)

    @cached_property
    def _numbers(self) -> frozenset[str]:
        if self._known is not None:
            return frozenset(self._known.numbers)
        return frozenset(name for name, one in self._seen.items() if one.kind is Kind.NUMBER)

    def part(self, first: int, last: int | None) -> Iterator[Offer]:
        """See `PictureSupply.part`."""
        return map(self._candidate, self._parts.part(first, last))

    def _candidate(self, raw: RawRow) -> Offer:
        place = f"{self._path}:{raw.number}"
        try:
            cells = raw.checked(self._path)
            self._columns.check_columns([IMAGE], cells, place, others=True)
            names = self._columns.places([IMAGE], cells)
            row = TableRow.picked(cells, self._path, raw.number, names, self._root)
            picture, stamp = self._picture(row)
            key = self._name(cells, raw.number)
            others = {
                name: self._told(name, value, place)
                for name, value in cells.items()
                if self._is_told(name, names)
            }
            told = self.metadata(others)
        except UserError as error:
            return Offer(self._place(raw.number), place, error, "", {}, raw.read)
        shown = str(picture) if isinstance(picture, Path) else place
        table = "" if key == self._place(raw.number) else self._whole
        stamp = told_stamp(stamp, told)
        return Offer(key, shown, picture, stamp, told, raw.read, table, replaces=self._key is not None)

    def _place(self, number: int) -> str:
        """What names a row where no column does."""
        return f"{self._whole}:{number}"

    def _told(self, name: str, cell: Any, place: str) -> Any:
        """A cell as metadata: a number where its column holds such."""
        if not cell or name not in self._numbers:
            return cell
        if (number := number_in(cell)) is None:
            raise UserError(
                f"{place}: {name} held numbers when the table was looked through, and is {excerpt(cell)!r} "
                "now: run the command again when nobody writes the table"
            )
        return number

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
            return self._place(number)
        if isinstance(value, bool) or not isinstance(value, str | int) or not str(value).strip():
            raise UserError(
                f'{self._path}:{number}: the column "{column}" names the picture, and is no text or whole '
                "number; mend the row, or take another column with --key"
            )
        key = str(value)
        if not can_be_kept(key):
            raise UserError(
                f'{self._path}:{number}: the column "{column}" names the picture, and is not Unicode, or has '
                "a zero byte; mend the row"
            )
        before = self._before(key, number)
        if before != number:
            raise UserError(
                f'{self._path}:{number}: the column "{column}" is {key}, as in row {before}; names must '
                "differ"
            )
        return key

    def _before(self, key: str, number: int) -> int:
        """The first row of a key: of rows that are read all, or as a cut has found it."""
        if self._known is None:
            return self._named.setdefault(key, number)
        return self._known.twice.get(number, number)
