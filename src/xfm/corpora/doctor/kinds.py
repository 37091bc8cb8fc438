"""Kind of a data set: records of a kind, or rows of a table."""

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from xfm.config.doctor import DoctorConfig, RecordKind
from xfm.config.load import load_recipe, recipe_names
from xfm.config.recipe import resolve_paths
from xfm.config.tables import table_kind
from xfm.core.errors import UserError
from xfm.core.files import open_regular
from xfm.core.paths import home_path, is_url
from xfm.corpora.doctor.records import SourceData, TableData, spread
from xfm.data.folders import scan_folder
from xfm.data.records import MAX_ANNOTATION, BadRecordError, SampleKind
from xfm.data.sources import open_source, resolve_files
from xfm.data.sources.base import RecordSource
from xfm.data.tables import ColumnMap
from xfm.data.tables.objects import PREFIX
from xfm.models.resolve import model_folder

_LOOKED = 64
"""Records by which the kind is guessed."""
_BOTH = (".jsonl", ".tar")
"""Kinds of files that are records, or tables, by what is in them."""
_OF_TASKS = frozenset({"label", "question", "answer", "anchor", "positive", "box", "left", "right"})
_OF_RECORDS = frozenset({"captions", "regions"})


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
    if path.startswith(PREFIX):
        return True
    if is_url(path):
        return False
    place = Path(path)
    if place.is_dir():
        if resolve_files(path):
            return False
        names, _ = scan_folder(place)
        return len({name.partition("/")[0] for name in names}) > 1 and all("/" in name for name in names)
    kind = table_kind(place)
    if kind == ".jsonl" and place.name.endswith(kind):
        return _has_fields_of_tasks(place)
    return kind is not None and not place.name.endswith(_BOTH)


def _has_fields_of_tasks(path: Path) -> bool:
    fields = set[str]()
    with suppress(OSError), open_regular(path) as file:
        for _ in range(_LOOKED):
            with suppress(ValueError, RecursionError):
                row = json.loads(file.readline(MAX_ANNOTATION))
                fields |= row.keys() if isinstance(row, dict) else set()
    return bool(fields & _OF_TASKS) and not fields & _OF_RECORDS


def _guessed(path: str) -> SampleKind:
    """The richest kind among some records, spread over all."""
    try:
        source = open_source(path, SampleKind.IMAGE)
    except UserError:
        open_source(path, SampleKind.TEXT)
        return SampleKind.TEXT
    files = is_url(path) or resolve_files(path)
    said = open_source(path, SampleKind.PAIR) if files else source
    numbers = spread(len(source), _LOOKED, 0).tolist()
    kinds = {kind for number in numbers if (kind := _kind_of(source, said, number)) is not None}
    if not kinds:  # no picture can be read: are any meant to be there?
        texts = open_source(path, SampleKind.TEXT)
        kinds = {_kind_meant(texts, number) for number in spread(len(texts), _LOOKED, 0).tolist()}
    return max(kinds, key=lambda kind: kind.number)


def _kind_of(source: RecordSource, said: RecordSource, number: int) -> SampleKind | None:
    try:
        source.record(number)
    except BadRecordError:
        return None
    with suppress(BadRecordError):
        return _kind_said(said.record(number).annotation)
    return SampleKind.IMAGE


def _kind_meant(texts: RecordSource, number: int) -> SampleKind:
    with suppress(BadRecordError):
        annotation = texts.record(number).annotation
        if {"image", "captions", "caption", "regions"} & annotation.keys():
            return _kind_said(annotation)
    return SampleKind.TEXT


def _kind_said(annotation: Mapping[str, Any]) -> SampleKind:
    if annotation.get("regions"):
        return SampleKind.REGION
    said = annotation.get("captions") or annotation.get("caption")
    return SampleKind.PAIR if said else SampleKind.IMAGE


def tokenizer_of(named: str) -> Path | None:
    """File of a tokenizer, named by itself, its model or a recipe."""
    if not named:
        return None
    if named in recipe_names() or named.endswith((".yaml", ".yml")):
        recipe = load_recipe(named)
        return Path(resolve_paths(recipe.data, home_path(recipe.root)).tokenizer).absolute()
    place = home_path(named).absolute()
    if place.is_file():
        return place
    found = model_folder(named).absolute() / "tokenizer.json"
    if not found.is_file():
        raise UserError(
            f"--tokenizer: {named} has none; give a tokenizer.json, the folder of a model, or a recipe"
        )
    return found
