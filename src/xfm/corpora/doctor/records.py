"""Records as they are examined, whatever they come from: pictures, texts, boxes, a label."""

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
    """A text of a record.

    Attributes:
        name: what it is, such as caption.
        text: as it was found, which may be no text.
        caption: whether it is read as a caption.
    """

    name: str
    text: Any
    caption: bool


class BoxField(NamedTuple):
    """A box as it was found, and its phrase."""

    phrase: Any
    box: Any


@dataclass(frozen=True)
class DataRecord:
    """A record.

    Attributes:
        place: where it is, for people.
        pictures: bytes, or files.
        texts: all that is said.
        boxes: of the first picture.
        labels: names of classes.
        found: what was wrong when it was read.
        record: of shards and the like: training's own rule is asked about it.
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
    """[M] int64, rising: `sample` of `total` numbers, one of each stretch; all where there are no more."""
    if not 0 < sample < total:
        return np.arange(total)
    edges = np.arange(sample + 1) * total // sample
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


@dataclass(frozen=True)
class SourceData:
    """Shards, JSON lines or a folder of pictures. Small, and can be pickled; opened once in a process.

    Attributes:
        path: as of `open_source`.
        kind: what to read the records as.
        sample: so many of them; 0 for all.
        seed: of the sample.
    """

    path: str
    kind: SampleKind
    sample: int = 0
    seed: int = 0

    @property
    def total(self) -> int:
        """Records; raises UserError where they cannot be read at all."""
        return len(_opened(self)[1])

    def parts(self) -> Iterator[Part]:
        """The records in parts, each to be read by whoever examines it."""
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
        """Some records by their numbers."""
        source, chosen = _opened(self)
        return {number: _record(source, int(chosen[number]), self.kind) for number in sorted(numbers)}


@lru_cache(maxsize=1)
def _opened(data: SourceData) -> tuple[RecordSource, np.ndarray]:
    source = open_source(data.path, data.kind)
    return source, spread(len(source), data.sample, data.seed)


def close_source() -> None:
    """Let go of what this process has opened: the files may be others the next time."""
    _opened.cache_clear()


def _record(source: RecordSource, number: int, kind: SampleKind) -> DataRecord:
    try:
        return described(source.record(number), kind)
    except BadRecordError as error:
        return DataRecord(str(error.origin), found=(Issue(Finding.RECORD, error.reason),))


def described(record: Record, kind: SampleKind) -> DataRecord:
    """What of a record is read as such a kind, whatever its fields hold."""
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
