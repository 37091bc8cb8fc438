"""Rows of a table as records, with the fields of a task, or of any task."""

from collections.abc import Iterable, Iterator, Set
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

from xfm.config.task_spec import Field, Holds, TextRule
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError
from xfm.corpora.doctor.findings import Finding, Issue
from xfm.corpora.doctor.records import PART, BoxField, DataRecord, Part, TextField, spread
from xfm.data.tables import ColumnMap, TableRow, open_table
from xfm.data.tables.embedded import PictureStore
from xfm.data.tables.records import RawRow, Records

_FIELDS = (
    Field("image", holds=Holds.PICTURE, optional=True),
    Field("images", holds=Holds.TWO_PICTURES, optional=True, parts=("left", "right")),
    Field("caption", holds=Holds.TEXTS, optional=True, also=("captions",)),
    *(Field(name, optional=True) for name in ("text", "text_pair", "question", "anchor", "positive")),
    *(Field(name, holds=Holds.TEXTS, optional=True) for name in ("answer", "negative")),
    Field("box", holds=Holds.BOX, optional=True),
    Field("label", holds=Holds.LABEL, optional=True),
)
"""Of any task, where nobody said which."""
_UNREADABLE = {
    Holds.PICTURE: Finding.PICTURE,
    Holds.TWO_PICTURES: Finding.PICTURE,
    Holds.BOX: Finding.BOX_WRONG,
}
"""What a cell has that does not hold what it should."""


def fields_of(task: str) -> tuple[Field, ...]:
    """Fields of a row."""
    return task_spec(task).fields if task else _FIELDS


@dataclass(frozen=True)
class TableData:
    """Rows of a table (or a `sample`), which one process reads and others examine.

    `folder` is for pictures in the table, `task` the task (empty: fields of any), `pictures` the folder of
    paths.
    """

    path: str
    folder: Path
    task: str
    columns: ColumnMap
    pictures: Path | None
    sample: int
    seed: int
    kind: None = None
    total: None = None

    def rows(self) -> Iterator[DataRecord]:
        """The rows."""
        fields, table = fields_of(self.task), open_table(self.path)
        self.columns.check_fields(fields)
        if table.columns is not None:
            self.columns.check_columns(fields, table.columns, self.path)
            _require_any(self.path, fields, self.columns, table.columns)
        caption = bool(self.task) and task_spec(self.task).text is not TextRule.WRITTEN
        store = PictureStore(self.folder)
        reader = _RowReader(Path(self.path), fields, self.columns, self.pictures, store, caption)
        return map(reader.record, _chosen(table, self.columns.wanted(fields), self.sample, self.seed))

    def parts(self) -> Iterator[Part]:
        """The rows in parts."""
        rows, first = self.rows(), 0
        while part := [*islice(rows, PART)]:
            yield first, part
            first += len(part)
        if not first:
            raise UserError(f"{self.path} holds no rows; check the path")

    def records(self, part: Part) -> Iterable[DataRecord]:
        """The rows of a part."""
        return cast("list[DataRecord]", part[1])

    def pick(self, numbers: Set[int]) -> dict[int, DataRecord]:
        """Rows by number: the table is read again."""
        last = max(numbers, default=-1)
        return {number: row for number, row in enumerate(islice(self.rows(), last + 1)) if number in numbers}


def _chosen(table: Records, wanted: frozenset[str], sample: int, seed: int) -> Iterator[RawRow]:
    if not sample:
        return table.rows(wanted)
    places = set(spread(sum(1 for _ in table.rows(frozenset())), sample, seed).tolist())
    return (raw for place, raw in enumerate(table.rows(wanted)) if place in places)


def _require_any(source: str, fields: tuple[Field, ...], columns: ColumnMap, there: Any) -> None:
    if not {*columns.places(fields, there).values()} & {*there}:
        shown = ", ".join(map(str, [*there][:12]))
        raise UserError(
            f"{source} has the columns {shown}, none of which a task reads: name the task with --task, and "
            "what its columns are called with --columns text=COLUMN,label=COLUMN"
        )


class _RowReader:
    def __init__(
        self,
        source: Path,
        fields: tuple[Field, ...],
        columns: ColumnMap,
        pictures: Path | None,
        store: PictureStore,
        caption: bool,
    ) -> None:
        self._source, self._fields, self._columns = source, fields, columns
        self._pictures, self._store, self._caption = pictures, store, caption

    def record(self, raw: RawRow) -> DataRecord:
        place = f"{self._source}:{raw.number}"
        try:
            cells = raw.checked(self._source)
            self._columns.check_columns(self._fields, cells, place, others=True)
            names = self._columns.places(self._fields, cells)
            row = TableRow.picked(cells, self._source, raw.number, names, self._pictures)
            row = row.unpacked(self._fields, self._store)
        except UserError as error:
            detail = str(error).removeprefix(f"{place}: ")
            return DataRecord(place, found=(Issue(Finding.RECORD, detail),))
        parts: dict[str, list[Any]] = {"pictures": [], "texts": [], "boxes": [], "labels": [], "found": []}
        for one in self._fields:
            try:
                self._add(row, one, parts)
            except UserError as error:
                kind = _UNREADABLE.get(one.holds, Finding.RECORD)
                parts["found"].append(Issue(kind, str(error).removeprefix(f"{place}: ")))
        pictures, texts, boxes, labels, found = map(tuple, parts.values())
        return DataRecord(place, pictures, texts, boxes, labels, found)

    def _add(self, row: TableRow, one: Field, parts: dict[str, list[Any]]) -> None:
        given = [name for name in (*one.names, *one.parts) if row.has(name)]
        if not given:
            self._absent(row, one, parts)
        elif one.holds is Holds.LABEL:
            value = row.get(given[0])
            several = isinstance(value, list | tuple)
            parts["labels"] += row.labels(given[0], ";") if several else [row.label(given[0])]
        elif one.holds is Holds.PICTURE:
            parts["pictures"].append(row.path(given[0]))
        elif one.holds is Holds.TWO_PICTURES:
            parts["pictures"] += [each.path(one.name) for each in row.two(one)]
        elif one.holds is Holds.BOX:
            phrase = next((told.text for told in parts["texts"]), "")
            parts["boxes"] += [BoxField(phrase, box) for box in row.number_lists(given[0])]
        else:
            texts = row.votes(given[0]) if one.holds is Holds.TEXTS else [row.text(given[0])]
            caption = self._caption and not one.target
            parts["texts"] += [TextField(given[0], text, caption) for text in texts]

    def _absent(self, row: TableRow, one: Field, parts: dict[str, list[Any]]) -> None:
        # Without a task no field is required, but a column of labels is there to be filled in.
        if one.optional and not (one.holds is Holds.LABEL and one.name in row):
            return
        if one.holds is Holds.LABEL:
            parts["found"].append(Issue(Finding.NO_LABEL, "there is no label"))
        elif one.holds in (Holds.TEXT, Holds.TEXTS):
            parts["texts"].append(TextField(one.name, "", self._caption))
        else:
            parts["found"].append(Issue(_UNREADABLE[one.holds], f"there is no {one.name}"))
