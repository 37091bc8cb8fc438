"""Records to examine, from any source: pictures, texts, boxes, labels."""

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from xfm.corpora.doctor.findings import Finding, Issue
from xfm.data.records import BadRecordError, Record, SampleKind
from xfm.data.sources import open_source
from xfm.data.sources.base import RecordSource

PART = 256
"""Records of a unit of work."""


class TextField(NamedTuple):
    """A field and its text (any value), and whether it is read as a caption."""

    name: str
    text: Any
    caption: bool


class BoxField(NamedTuple):
    """A box and its phrase as found."""

    phrase: Any
    box: Any


@dataclass(frozen=True)
class DataRecord:
    """A record as found; `boxes` are of the first picture, `found` are issues of reading it.

    `record` is set for shards and the like, for training's own rule.
    """

    place: str
    pictures: tuple[bytes | Path, ...] = ()
    texts: tuple[TextField, ...] = ()
    boxes: tuple[BoxField, ...] = ()
    labels: tuple[str, ...] = ()
    found: tuple[Issue, ...] = ()
    record: Record | None = None


Part = tuple[int, range | list[DataRecord]]
"""Number of the first record of a unit of work, and the numbers of the records or, of a table, themselves."""


def spread(total: int, sample: int, seed: int) -> np.ndarray:
    """[M] int64, ascending: `sample` of `total` numbers, one from each equal part; 0: all."""
    if not 0 < sample < total:
        return np.arange(total)
    edges = np.arange(sample + 1) * total // sample
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


@dataclass(frozen=True)
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
        for number in numbers:
            yield _record(source, int(chosen[number]), self.kind)

    def pick(self, numbers: Set[int]) -> dict[int, DataRecord]:
        """Records by number."""
        source, chosen = _opened(self)
        return {number: _record(source, int(chosen[number]), self.kind) for number in sorted(numbers)}


@lru_cache(maxsize=1)
def _opened(data: SourceData) -> tuple[RecordSource, np.ndarray]:
    source = open_source(data.path, data.kind)
    return source, spread(len(source), data.sample, data.seed)


def close_source() -> None:
    """Close what this process has opened: the files may differ the next time."""
    _opened.cache_clear()


def _record(source: RecordSource, number: int, kind: SampleKind) -> DataRecord:
    try:
        return described(source.record(number), kind)
    except BadRecordError as error:
        return DataRecord(str(error.origin), found=(Issue(Finding.RECORD, error.reason),))


def described(record: Record, kind: SampleKind) -> DataRecord:
    """Fields of a record that are read for a kind."""
    annotation, place = record.annotation, str(record.origin)
    pictures = () if record.picture is None else (record.picture,)
    if kind is SampleKind.TEXT:
        return DataRecord(place, (), (TextField("text", annotation.get("text"), False),), record=record)
    if kind is SampleKind.IMAGE:
        return DataRecord(place, pictures, record=record)
    captions = annotation.get("captions", annotation.get("caption", []))
    texts = [TextField("caption", one, True) for one in _several(captions)]
    boxes = list[BoxField]()
    if kind is SampleKind.REGION:
        entries = [one for one in _several(annotation.get("regions", [])) if isinstance(one, dict)]
        boxes = [BoxField(one.get("phrase"), one.get("box")) for one in entries]
        texts += [TextField("phrase", one.phrase, True) for one in boxes]
    return DataRecord(place, pictures, tuple(texts), tuple(boxes), record=record)


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]
