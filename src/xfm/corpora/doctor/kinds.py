"""Kind of a data set: records of a kind, or rows of a table."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from xfm.config.doctor import DoctorConfig, RecordKind
from xfm.config.tables import table_kind
from xfm.core.errors import UserError
from xfm.core.files import open_regular
from xfm.core.paths import is_url
from xfm.corpora.doctor.records import SourceData, TableData, spread
from xfm.data.folders import scan_folder
from xfm.data.records import BadRecordError, Limits, SampleKind
from xfm.data.sources import open_source, resolve_files
from xfm.data.sources.base import RecordSource
from xfm.data.tables import ColumnMap
from xfm.data.tables.objects import PREFIX

_LOOKED = 64
"""Records by which the kind is guessed."""
_BOTH = (".jsonl", ".tar")
"""Kinds of files that are records, or tables, by what is in them."""
_OF_TASKS = frozenset({"label", "question", "answer", "anchor", "positive", "box", "left", "right"})
_OF_RECORDS = frozenset({"image", "captions", "caption", "regions"})


def data_of(
    path: str, config: DoctorConfig, columns: str, pictures: Path | None, folder: Path
) -> SourceData | TableData:
    """The data set at a path; `folder` is for pictures that stand in a table."""
    asked = config.kind is not RecordKind.AUTO
    options = {"task": config.task, "columns": columns, "pictures": pictures}
    named = [option for option, given in options.items() if given]
    if asked and named:
        raise UserError(f"--kind is for records, --{named[0]} for tables: leave one of them out")
    if named or (not asked and _is_table(path)):
        told = ColumnMap.parse(columns), pictures, config.sample, config.seed
        return TableData(path, folder / "pictures", config.task, *told)
    kind = SampleKind(config.kind.value) if asked else _guessed(path)
    return SourceData(path, kind, config.sample, config.seed)


def _is_table(path: str) -> bool:
    if path.startswith(PREFIX) or is_url(path):
        return path.startswith(PREFIX)
    place = Path(path)
    if place.is_dir():
        names = () if resolve_files(path) else scan_folder(place).pictures
        return len({name.partition("/")[0] for name in names}) > 1 and all("/" in name for name in names)
    kind = table_kind(place)
    if kind != ".jsonl" or not place.name.endswith(kind):
        return kind is not None and not place.name.endswith(_BOTH)
    fields = set[str]()
    with suppress(OSError), open_regular(place) as file:
        for _ in range(_LOOKED):
            with suppress(ValueError, RecursionError):
                row = json.loads(file.readline(Limits().annotation_bytes))
                fields |= row.keys() if isinstance(row, dict) else set()
    return bool(fields & _OF_TASKS) and not fields & {"captions", "regions"}


def _guessed(path: str) -> SampleKind:
    """The richest kind among some records, spread over all."""
    try:
        source = open_source(path, SampleKind.IMAGE)
    except UserError:
        open_source(path, SampleKind.TEXT)
        return SampleKind.TEXT
    said = open_source(path, SampleKind.PAIR) if is_url(path) or resolve_files(path) else source
    kinds = set[SampleKind]()
    for number in spread(len(source), _LOOKED, 0).tolist():
        with suppress(BadRecordError):
            source.record(number)
            kinds.add(_kind_said(said, number, SampleKind.IMAGE))
    if not kinds:  # no picture can be read: are any meant to be there?
        texts = open_source(path, SampleKind.TEXT)
        numbers = spread(len(texts), _LOOKED, 0).tolist()
        kinds = {_kind_said(texts, number, SampleKind.TEXT) for number in numbers}
    return max(kinds, key=lambda kind: kind.number)


def _kind_said(source: RecordSource, number: int, otherwise: SampleKind) -> SampleKind:
    annotation: Mapping[str, Any] = {}
    with suppress(BadRecordError):
        annotation = source.record(number).annotation
    if annotation.get("regions"):
        return SampleKind.REGION
    if annotation.get("captions") or annotation.get("caption"):
        return SampleKind.PAIR
    return SampleKind.IMAGE if _OF_RECORDS & annotation.keys() else otherwise
