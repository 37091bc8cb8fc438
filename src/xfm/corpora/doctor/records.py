"""Records to examine, from any source: pictures, texts, boxes, labels."""

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass, field
from functools import lru_cache, partial
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np

from xfm.config.corpora import DoctorConfig
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.task_spec import Field, FieldKind, TextRule
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError
from xfm.corpora.doctor.findings import Finding, Issue
from xfm.data.records import BadRecordError, Record, SampleKind
from xfm.data.sources import open_source
from xfm.data.sources.base import RecordSource
from xfm.data.tables import ColumnMap, TableRow, open_table
from xfm.data.tables.columns import listed
from xfm.data.tables.records import RawRow

PART = 256
"""Records of a unit of work."""
TextField = tuple[str, Any, bool]
"""A field and its text (any value), and whether it is read as a caption."""


PLAIN_FORM = BoxFormat.XYWH, BoxUnit.PIXEL


@dataclass
class DataRecord:
    """A record as found; `boxes` are phrases and boxes of the first picture in a `form`, `found` issues of
    reading it. `record` is set for shards and the like, for training's own rule."""

    place: str
    pictures: list[bytes | Path] = field(default_factory=list)
    texts: list[TextField] = field(default_factory=list)
    boxes: list[tuple[Any, Any]] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    found: list[Issue] = field(default_factory=list)
    record: Record | None = None
    form: tuple[BoxFormat, BoxUnit] = PLAIN_FORM


Part = tuple[int, range | list[DataRecord]]
"""Number of the first record of a unit of work, and the numbers of the records or, of a table, themselves."""


def spread(total: int, sample: int, seed: int) -> np.ndarray:
    """[M] int64, ascending: `sample` of `total` numbers, one from each equal part; 0: all."""
    if not 0 < sample < total:
        return np.arange(total)
    edges = np.arange(sample + 1) * total // sample
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


@dataclass(frozen=True, eq=False)
class SourceData:
    """Shards, JSON lines or a folder of pictures, or a `sample` of it; opened once in a process."""

    path: str
    kind: SampleKind
    sample: int = 0
    seed: int = 0

    @property
    def total(self) -> int:
        """Number of records."""
        return len(_opened(self)[1])

    def parts(self) -> Iterator[Part]:
        """The records in parts."""
        for first in range(0, self.total, PART):
            yield first, range(first, min(self.total, first + PART))

    def records(self, part: Part) -> Iterator[DataRecord]:
        """The records of a part."""
        source, chosen = _opened(self)
        numbers = range(part[0], part[0] + len(part[1]))
        if len(chosen) == len(source):
            source.expect(numbers.start, numbers.stop)
        return (_record(source, int(chosen[number]), self.kind) for number in numbers)

    def pick(self, numbers: Set[int]) -> dict[int, DataRecord]:
        """Records by number."""
        source, chosen = _opened(self)
        return {number: _record(source, int(chosen[number]), self.kind) for number in sorted(numbers)}


@lru_cache(maxsize=1)  # of another object, whose files may differ, anew
def _opened(data: SourceData) -> tuple[RecordSource, np.ndarray]:
    source = open_source(data.path, data.kind)
    return source, spread(len(source), data.sample, data.seed)


def _record(source: RecordSource, number: int, kind: SampleKind) -> DataRecord:
    try:
        record = source.record(number)
    except BadRecordError as error:
        return DataRecord(str(error.origin), found=[Issue(Finding.RECORD, error.reason)])
    annotation, found = record.annotation, DataRecord(str(record.origin), record=record)
    if kind is SampleKind.TEXT:
        found.texts = [("text", annotation.get("text"), False)]
        return found
    found.pictures = [] if record.picture is None else [record.picture]
    if kind is SampleKind.IMAGE:
        return found
    captions = annotation.get("captions", annotation.get("caption", []))
    regions = annotation.get("regions") if kind is SampleKind.REGION else []
    listed = regions if isinstance(regions, list) else [regions]
    found.boxes = [(one.get("phrase"), one.get("box")) for one in listed if isinstance(one, dict)]
    found.texts = [("caption", one, True) for one in (captions if isinstance(captions, list) else [captions])]
    found.texts += [("phrase", phrase, True) for phrase, _ in found.boxes]
    return found


_FIELDS = (
    Field("image", holds=FieldKind.PICTURE, optional=True),
    Field("images", holds=FieldKind.TWO_PICTURES, optional=True, parts=("left", "right")),
    Field("caption", holds=FieldKind.TEXTS, optional=True, also=("captions",)),
    *(Field(name, optional=True) for name in ("text", "text_pair", "question", "anchor", "positive")),
    *(Field(name, holds=FieldKind.TEXTS, optional=True) for name in ("answer", "negative")),
    Field("box", holds=FieldKind.BOX, optional=True),
    Field("label", holds=FieldKind.LABEL, optional=True),
)
"""Of any task, where nobody said which."""
_UNREADABLE: dict[FieldKind, Finding] = {
    FieldKind.PICTURE: Finding.PICTURE,
    FieldKind.TWO_PICTURES: Finding.PICTURE,
    FieldKind.BOX: Finding.BOX_WRONG,
}
"""What a cell has that does not hold what it should."""


@dataclass(frozen=True)
class TableData:
    """Rows of a table, which one process reads and others examine. `folder` is for pictures in the table,
    `pictures` the folder of paths; `config` has task (empty: fields of any), sample and form of boxes."""

    path: str
    folder: Path
    config: DoctorConfig
    columns: ColumnMap
    pictures: Path | None
    kind: None = None
    total: None = None

    def rows(self) -> Iterator[DataRecord]:
        """The rows."""
        task, sample = self.config.task, self.config.sample
        fields, table = task_spec(task).fields if task else _FIELDS, open_table(self.path)
        self.columns.check_fields(fields)
        if (there := table.columns) is not None:
            self.columns.check_columns(fields, there, self.path)
            if not {*self.columns.places(fields, there).values()} & {*there}:
                told = "name the task with --task, and its columns with --columns text=COLUMN"
                raise UserError(f"{self.path}: no task reads its columns {listed([*there])}; {told}")
        rows = table.rows(self.columns.wanted(fields))
        if sample:
            total = sum(1 for _ in table.rows(frozenset()))
            places = {*spread(total, sample, self.config.seed).tolist()}
            rows = (raw for place, raw in enumerate(rows) if place in places)
        return map(partial(self._record, fields), rows)

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

    def _record(self, fields: Sequence[Field], raw: RawRow) -> DataRecord:
        source, config = Path(self.path), self.config
        place = f"{source}:{raw.number}"
        found = DataRecord(place, form=(config.box_format, config.box_unit))

        def note(finding: Finding, error: UserError) -> None:
            found.found.append(Issue(finding, str(error).removeprefix(f"{place}: ")))

        try:
            row = TableRow.read(raw, source, fields, self.columns, self.pictures)
            row = row.unpacked(fields, self.folder)
        except UserError as error:
            note(Finding.RECORD, error)
            return found
        caption = bool(config.task) and task_spec(config.task).text is not TextRule.WRITTEN
        for one in fields:
            try:
                _add_field(row, one, caption, found)
            except UserError as error:
                note(_UNREADABLE.get(one.holds, Finding.RECORD), error)
        return found


Data = SourceData | TableData


def _add_field(row: TableRow, one: Field, caption: bool, found: DataRecord) -> None:
    given = next((name for name in (*one.names, *one.parts) if row.has(name)), None)
    if given is None:
        # Without a task no field is required, but a column of labels is there to be filled in.
        if one.optional and not (one.holds is FieldKind.LABEL and one.name in row):
            return
        if one.holds is FieldKind.LABEL:
            found.found.append(Issue(Finding.NO_LABEL, "there is no label"))
        elif one.holds in (FieldKind.TEXT, FieldKind.TEXTS):
            found.texts.append((one.name, "", caption))
        else:
            found.found.append(Issue(_UNREADABLE[one.holds], f"there is no {one.name}"))
    elif one.holds is FieldKind.LABEL:
        several = isinstance(row.get(given), list | tuple)
        found.labels += row.labels(given, ";") if several else [row.label(given)]
    elif one.holds is FieldKind.PICTURE:
        found.pictures.append(row.path(given))
    elif one.holds is FieldKind.TWO_PICTURES:
        found.pictures += [each.path(one.name) for each in row.two(one)]
    elif one.holds is FieldKind.BOX:
        phrase = next((text for _, text, _ in found.texts), "")
        found.boxes += [(phrase, box) for box in row.number_lists(given)]
    else:
        texts = row.votes(given) if one.holds is FieldKind.TEXTS else [row.text(given)]
        found.texts += [(given, text, caption and not one.target) for text in texts]
