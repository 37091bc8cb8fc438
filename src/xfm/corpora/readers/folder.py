"""A folder of pictures with texts beside them: `a/1.jpg`, and `a/1.txt` or `a/1.json`."""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.core.files import read_bytes
from xfm.corpora.gathered import GatheredReader
from xfm.corpora.source_record import PhraseBox, Piece, SourceRecord, json_object
from xfm.data.folders import scan_folder
from xfm.data.records import Limits, is_text

_BESIDE = (".txt", ".json")
NO_TEXT = "there is no text beside the picture"


class FolderReader(GatheredReader):
    """Pictures; if any has a text, those without one are flawed."""

    licence = ""
    needs_text = False

    def __init__(self, source: Path, shard_size: int) -> None:
        super().__init__(shard_size)
        self._source = source

    def inputs(self) -> Iterator[Path]:
        """See `CorpusReader.inputs`."""
        found = scan_folder(self._source)
        beside = [name for kind in _BESIDE for name in found.passed.get(kind, ())]
        return (self._source / name for name in sorted([*found.pictures, *beside]))

    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        """See `GatheredReader.gathered`."""
        found = scan_folder(self._source)
        if not found.pictures:
            raise UserError(f"{self._source} holds no pictures; check the path")
        beside = {os.path.splitext(name)[0] for kind in _BESIDE for name in found.passed.get(kind, ())}
        texts = any(os.path.splitext(name)[0] in beside for name in found.pictures)
        for name in found.pictures:
            lacks = texts and os.path.splitext(name)[0] not in beside
            yield SourceRecord(name, self._source / name, flaw=NO_TEXT if lacks else "")

    def records(self, piece: Piece, listings: Path) -> Iterator[SourceRecord]:
        """See `CorpusReader.records`; the texts are read here."""
        for record in super().records(piece, listings):
            assert isinstance(record.picture, Path)
            try:
                yield record if record.flaw else replace(record, **_beside(record.picture))
            except UserError as error:
                yield replace(record, flaw=str(error))
            except OSError as error:
                yield replace(record, flaw=f"the text cannot be read ({error.strerror})")


def _beside(picture: Path) -> dict[str, Any]:
    limit = Limits().annotation_bytes
    text, annotation = picture.with_suffix(".txt"), picture.with_suffix(".json")
    if annotation.exists():
        return described(json_object(read_bytes(annotation, limit)))
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
    return {
        "captions": tuple(words for one in captions if (words := " ".join(one.split()))),
        "regions": tuple(_region(one) for one in regions),
    }


def _region(one: object) -> PhraseBox:
    phrase, box = (one.get("phrase"), one.get("box")) if isinstance(one, dict) else (None, None)
    given = isinstance(box, list) and len(box) == 4
    return PhraseBox(
        " ".join(phrase.split()) if is_text(phrase) else "",
        tuple(box) if given else (float("nan"),) * 4,  # pyright: ignore[reportReturnType, reportArgumentType]
    )
