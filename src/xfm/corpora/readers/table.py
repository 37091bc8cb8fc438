"""Any table with a picture a row, as a file or in the table, and captions or regions."""

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfm.config.task_spec import Field, Holds
from xfm.core.errors import UserError
from xfm.core.paths import is_url
from xfm.corpora.gathered import GatheredReader
from xfm.corpora.readers.folder import described
from xfm.corpora.source_record import SourceRecord
from xfm.data.tables import ColumnMap, TableRow, open_table
from xfm.data.tables.embedded import BadPicture, PictureStore
from xfm.data.tables.records import RawRow

FIELDS = (
    Field("image", holds=Holds.PICTURE),
    Field("caption", holds=Holds.TEXTS, optional=True, also=("captions",)),
    Field("regions", "a list of objects with phrase and box", optional=True),
)


class TableReader(GatheredReader):
    """Rows of a table; consecutive rows of one picture are one record with all captions.

    Pictures in the table are written beside the listings until the shards are made.
    """

    licence = ""
    needs_text = False

    def __init__(self, source: Path, shard_size: int, columns: ColumnMap, pictures: Path | None) -> None:
        super().__init__(shard_size)
        self._source, self._columns, self._pictures = source, columns, pictures
        columns.check_fields(FIELDS)

    def inputs(self) -> list[Path]:
        """See `CorpusReader.inputs`."""
        if self._source.is_dir():
            return sorted(path for path in self._source.rglob("*") if path.is_file())
        return [self._source] if self._source.is_file() else []

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        """See `GatheredReader.gathered`."""
        table = open_table(self._source)
        if table.columns is not None:
            self._columns.check_columns(FIELDS, table.columns, self._source)
        store = PictureStore(listings / "pictures")
        before: SourceRecord | None = None
        for raw in table.rows(self._columns.wanted(FIELDS)):
            record = self._record(raw, store)
            if before is None:
                before = record
            elif record.picture is not None and record.picture == before.picture and not record.flaw:
                before = replace(
                    before,
                    captions=before.captions + record.captions,
                    regions=before.regions + record.regions,
                )
            else:
                yield before
                before = record
        if before is None:
            raise UserError(f"{self._source} holds no rows; check the path")
        yield before

    def _record(self, raw: RawRow, store: PictureStore) -> SourceRecord:
        name = f"{self._source.name}:{raw.number}"
        try:
            cells = raw.checked(self._source)
            self._columns.check_columns(FIELDS, cells, self._source, others=True)
            row = TableRow.picked(
                cells, self._source, raw.number, self._columns.places(FIELDS, cells), self._pictures
            )
            row = row.unpacked(FIELDS, store)
            said = {"captions": row.texts("caption") if row.has("caption") else [], "regions": _regions(row)}
            return SourceRecord(name, _picture(row), **described(said))
        except UserError as error:
            return SourceRecord(name, flaw=str(error).removeprefix(f"{self._source}:{raw.number}: "))


def _picture(row: TableRow) -> Path:
    value = row.get("image")
    if isinstance(value, BadPicture):
        raise row.error("image", value.reason)
    if isinstance(value, str) and is_url(value):
        raise row.error("image", "is an address; download such pictures with img2dataset first")
    return value if isinstance(value, Path) else row.path("image")


def _regions(row: TableRow) -> Any:
    value = row.get("regions") if row.has("regions") else []
    if not isinstance(value, str):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError) as error:
        raise row.error("regions", f"is not valid JSON ({error})") from None
