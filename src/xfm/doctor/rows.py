"""Rows of a table as cases: with the fields of a task, or with whatever fields of tasks it has."""

from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from xfm.config.task_spec import Field, Holds, TextRule
from xfm.config.tasks import task_spec
from xfm.data.tables import ColumnMap, TableRow, open_table
from xfm.data.tables.embedded import PictureStore
from xfm.data.tables.records import RawRow, Records
from xfm.doctor.cases import PART, Boxed, PatientCase, Told, spread
from xfm.doctor.findings import Finding, Symptom
from xfm.errors import UserError
from xfm.files import writing

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
    """What is read of each row; raises UserError for an unknown task."""
    return task_spec(task).fields if task else _FIELDS


def list_rows(
    source: str, folder: Path, task: str, columns: ColumnMap, pictures: Path | None, sample: int, seed: int
) -> int:
    """Write the rows of a table into a listing, and return how many there are.

    Args:
        source: as of `xfm.data.tables.open_table`.
        folder: of the listing, and of pictures that stand in the table.
        task: for which they are meant; empty for the fields of any.
        columns: what the columns are called.
        pictures: folder that paths of pictures start from, if not the table's.
        sample: so many rows; 0 for all.
        seed: of the sample.

    Raises:
        UserError: the table cannot be read, or lacks a column.
    """
    fields, table = fields_of(task), open_table(source)
    columns.check_fields(fields)
    if table.columns is not None:
        columns.check_columns(fields, table.columns, source)
        _require_any(source, fields, columns, table.columns)
    caption = bool(task) and task_spec(task).text is not TextRule.WRITTEN
    reader = _RowReader(Path(source), fields, columns, pictures, PictureStore(folder / "pictures"), caption)
    count, rows = 0, map(reader.case, _chosen(table, columns.wanted(fields), sample, seed))
    with writing(folder, "and run the same command again"):
        folder.mkdir(parents=True)
        while part := [*islice(rows, PART)]:
            path = folder / f"{count // PART:06d}.jsonl"
            with path.open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(case.to_line() for case in part)
            count += len(part)
    if not count:
        raise UserError(f"{source} holds no rows; check the path")
    return count


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
    """Makes cases of rows.

    Args:
        source: the table.
        fields: that are read.
        columns: what the columns are called.
        pictures: folder of the pictures.
        store: of pictures that stand in cells.
        caption: whether texts are read as captions.
    """

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

    def case(self, raw: RawRow) -> PatientCase:
        """The case of a row; what is wrong with a cell is found with the row."""
        place = f"{self._source}:{raw.number}"
        try:
            cells = raw.checked(self._source)
            self._columns.check_columns(self._fields, cells, place, others=True)
            names = self._columns.places(self._fields, cells)
            row = TableRow.picked(cells, self._source, raw.number, names, self._pictures)
            row = row.unpacked(self._fields, self._store)
        except UserError as error:
            detail = str(error).removeprefix(f"{place}: ")
            return PatientCase(place, found=(Symptom(Finding.RECORD, detail),))
        parts: dict[str, list[Any]] = {"pictures": [], "texts": [], "boxes": [], "labels": [], "found": []}
        for one in self._fields:
            try:
                self._add(row, one, parts)
            except UserError as error:
                kind = _UNREADABLE.get(one.holds, Finding.RECORD)
                parts["found"].append(Symptom(kind, str(error).removeprefix(f"{place}: ")))
        pictures, texts, boxes, labels, found = map(tuple, parts.values())
        return PatientCase(place, pictures, texts, boxes, labels, found)

    def _add(self, row: TableRow, one: Field, parts: dict[str, list[Any]]) -> None:
        """What a field holds; raises UserError."""
        given = [name for name in (*one.names, *one.parts) if row.has(name)]
        if not given:
            self._absent(one, parts)
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
            parts["boxes"] += [Boxed(phrase, box) for box in row.number_lists(given[0])]
        else:
            texts = row.votes(given[0]) if one.holds is Holds.TEXTS else [row.text(given[0])]
            caption = self._caption and not one.target
            parts["texts"] += [Told(given[0], text, caption) for text in texts]

    def _absent(self, one: Field, parts: dict[str, list[Any]]) -> None:
        if one.optional:
            return
        if one.holds is Holds.LABEL:
            parts["found"].append(Symptom(Finding.NO_LABEL, "there is no label"))
        elif one.holds in (Holds.TEXT, Holds.TEXTS):
            parts["texts"].append(Told(one.name, "", self._caption))
        else:
            parts["found"].append(Symptom(_UNREADABLE[one.holds], f"there is no {one.name}"))
