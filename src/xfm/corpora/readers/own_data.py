"""Pictures in folders (with texts beside them, or of ImageNet's classes) and in tables."""

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfm.config.corpora import PrepareConfig
from xfm.config.task_spec import Field, FieldKind
from xfm.core.errors import UserError
from xfm.core.files import read_bytes
from xfm.core.paths import is_url
from xfm.corpora.source_record import GatheredReader, PhraseBox, Piece, SourceRecord
from xfm.data.folders import passed_over, scan_folder
from xfm.data.records import MAX_ANNOTATION, BadRecordError, is_text, parse_annotation
from xfm.data.schema import Origin
from xfm.data.skipped import SkippedRecords
from xfm.data.tables import ColumnMap, TableRow, open_table
from xfm.data.tables.records import RawRow
from xfm.data.tables.table import open_folder

_BESIDE = (".txt", ".json")


class FolderReader(GatheredReader):
    """Pictures; if any has a text, those without one are flawed."""

    needs_text = False

    def inputs(self) -> Iterator[Path]:
        pictures, passed = scan_folder(self.source)
        beside = [name for kind in _BESIDE for name in passed.get(kind, ())]
        return (self.source / name for name in sorted([*pictures, *beside]))

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        pictures, passed = scan_folder(self.source)
        beside = {os.path.splitext(name)[0] for kind in _BESIDE for name in passed.pop(kind, ())}
        report = passed_over(self.source, passed)
        if not pictures:
            raise UserError(f"{self.source} holds no pictures{report and f' ({report})'}; check the path")
        SkippedRecords().folder(report)
        texts = any(os.path.splitext(name)[0] in beside for name in pictures)
        for name in pictures:
            lacks = texts and os.path.splitext(name)[0] not in beside
            flaw = "there is no text beside the picture" if lacks else ""
            yield SourceRecord(name, self.source / name, flaw=flaw)

    def records(self, piece: Piece, listings: Path) -> Iterator[SourceRecord]:
        """The texts are read here."""
        for record in super().records(piece, listings):
            assert isinstance(record.picture, Path)
            try:
                yield record if record.flaw else replace(record, **_beside(record.picture))
            except BadRecordError as error:
                yield replace(record, flaw=error.reason)
            except UserError as error:
                yield replace(record, flaw=str(error))
            except OSError as error:
                yield replace(record, flaw=f"the text cannot be read ({error.strerror})")


def _beside(picture: Path) -> dict[str, Any]:
    limit = MAX_ANNOTATION
    text, annotation = picture.with_suffix(".txt"), picture.with_suffix(".json")
    if annotation.exists():
        return described(parse_annotation(read_bytes(annotation, limit), Origin("", annotation.name)))
    if not text.exists():
        return {}
    try:
        lines = read_bytes(text, limit).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise UserError("the text is not UTF-8") from None
    return {"captions": tuple(words for line in lines if (words := " ".join(line.split())))}


def described(fields: dict[str, Any]) -> dict[str, Any]:
    """Captions and regions of a record's fields, as docs/data.md has them."""
    captions = fields.get("captions", fields.get("caption", []))
    captions = [captions] if isinstance(captions, str) else captions or []
    if not isinstance(captions, list) or not all(map(is_text, captions)):
        raise UserError('"captions" is not a list of texts')
    regions = fields.get("regions") or []
    if not isinstance(regions, list):
        raise UserError('"regions" is not a list')
    words = (" ".join(one.split()) for one in captions)
    return {"captions": tuple(filter(None, words)), "regions": tuple(map(_region, regions))}


def _region(one: object) -> PhraseBox:
    phrase, box = (one.get("phrase"), one.get("box")) if isinstance(one, dict) else (None, None)
    told: Any = tuple(box) if isinstance(box, list) and len(box) == 4 else (float("nan"),) * 4
    return " ".join(phrase.split()) if is_text(phrase) else "", told


FIELDS = (
    Field("image", holds=FieldKind.PICTURE),
    Field("caption", holds=FieldKind.TEXTS, optional=True, also=("captions",)),
    Field("regions", "a list of objects with phrase and box", optional=True),
)


class TableReader(GatheredReader):
    """Rows of a table; consecutive rows of one picture are one record with all captions. Pictures in the
    table are written beside the listings until the shards are made."""

    needs_text = False

    def __init__(
        self, source: Path, config: PrepareConfig, columns: ColumnMap, pictures: Path | None
    ) -> None:
        super().__init__(source, config)
        self._columns, self._pictures = columns, pictures
        columns.check_fields(FIELDS)

    def inputs(self) -> list[Path]:
        if self.source.is_dir():
            return sorted(path for path in self.source.rglob("*") if path.is_file())
        return [self.source] if self.source.is_file() else []

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        table = open_table(self.source)
        if table.columns is not None:
            self._columns.check_columns(FIELDS, table.columns, self.source)
        store = listings / "pictures"
        before: SourceRecord | None = None
        for raw in table.rows(self._columns.wanted(FIELDS)):
            record = self._record(raw, store)
            if before is None:
                before = record
            elif record.picture is not None and record.picture == before.picture and not record.flaw:
                more = before.captions + record.captions, before.regions + record.regions
                before = replace(before, captions=more[0], regions=more[1])
            else:
                yield before
                before = record
        if before is None:
            raise UserError(f"{self.source} holds no rows; check the path")
        yield before

    def _record(self, raw: RawRow, store: Path) -> SourceRecord:
        name = f"{self.source.name}:{raw.number}"
        try:
            row = TableRow.read(raw, self.source, FIELDS, self._columns, self._pictures)
            row = row.unpacked(FIELDS, store)
            regions = row.get("regions") if row.has("regions") else []
            if isinstance(regions, str):
                try:
                    regions = json.loads(regions)
                except (ValueError, RecursionError) as error:
                    raise row.error("regions", f"is not valid JSON ({error})") from None
            said = {"captions": row.texts("caption") if row.has("caption") else [], "regions": regions}
            value = row.get("image")
            if isinstance(value, str) and is_url(value):
                raise row.error("image", "is an address; download such pictures with img2dataset first")
            return SourceRecord(name, row.path("image"), **described(said))
        except UserError as error:
            return SourceRecord(name, flaw=str(error).removeprefix(f"{self.source}:{raw.number}: "))


class ImageNetReader(GatheredReader):
    """Pictures of `train/CLASS/`, one of each class in turn, so that consecutive ones show many classes."""

    licence = "ImageNet: for research and education that is not commercial, under its terms of access"
    needs_text = False

    def inputs(self) -> Iterator[Path]:
        for folder, classes in self._classes():
            turns = sorted((place, name) for name in classes for place in range(len(classes[name])))
            yield from (folder / name / classes[name][place] for place, name in turns)

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        for path in self.inputs():
            yield SourceRecord(path.relative_to(self.source).as_posix(), path)

    def _classes(self) -> Iterator[tuple[Path, dict[str, list[str]]]]:
        roots = [self.source / "ILSVRC/Data/CLS-LOC", self.source / "Data/CLS-LOC", self.source]
        root = next(place for place in roots if place.is_dir() or place == self.source)
        found = [root / split for split in self.config.splits or ["train"]]
        if not self.config.splits and not found[0].is_dir():
            found = [root]
        if lacking := [place for place in found if not place.is_dir()]:
            raise UserError(f"{lacking[0]} does not exist; unpack ImageNet there, or check --splits")
        return ((folder, open_folder(folder)[0]) for folder in found)
