"""Records as they are examined, whatever they come from: pictures, texts, boxes, a label."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np

from xfm.data.records import BadRecordError, Record, SampleKind
from xfm.data.sources import open_source
from xfm.doctor.findings import Finding, Symptom
from xfm.errors import UserError
from xfm.files import open_regular

PART = 256
"""Records of a unit of work, and rows of a listing."""


class Told(NamedTuple):
    """A text of a record.

    Attributes:
        name: what it is, such as caption.
        text: as it was found, which may be no text.
        caption: whether it is read as a caption.
    """

    name: str
    text: Any
    caption: bool


class Boxed(NamedTuple):
    """A box as it was found, and its phrase."""

    phrase: Any
    box: Any


@dataclass(frozen=True)
class PatientCase:
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
    texts: tuple[Told, ...] = ()
    boxes: tuple[Boxed, ...] = ()
    labels: tuple[str, ...] = ()
    found: tuple[Symptom, ...] = ()
    record: Record | None = None

    def to_line(self) -> str:
        """A row of a table as a line of JSON, for a listing."""
        plain = {
            "place": self.place,
            "pictures": [str(one) for one in self.pictures],
            "texts": self.texts,
            "boxes": self.boxes,
            "labels": self.labels,
            "found": self.found,
        }
        return json.dumps(plain) + "\n"

    @classmethod
    def from_line(cls, line: bytes) -> "PatientCase":
        """The row of a line of a listing."""
        plain = json.loads(line)
        return cls(
            plain["place"],
            tuple(map(Path, plain["pictures"])),
            tuple(Told(*one) for one in plain["texts"]),
            tuple(Boxed(*one) for one in plain["boxes"]),
            tuple(plain["labels"]),
            tuple(Symptom(Finding(one[0]), *one[1:]) for one in plain["found"]),
        )


class Cases(Protocol):
    """Cases by number."""

    def __len__(self) -> int: ...

    def case(self, number: int) -> PatientCase:
        """The case of a number."""
        ...

    def expect(self, first: int, stop: int) -> None:
        """Hear which will be read soon."""
        ...


@dataclass(frozen=True)
class Opening:
    """How processes open the cases; small, and known again.

    Attributes:
        path: as of `open_source`.
        kind: what to read the records as; None of a table.
        listing: folder of the rows of a table, None of all else.
        sample: so many of them; 0 for all.
        seed: of the sample.
    """

    path: str
    kind: SampleKind | None = None
    listing: Path | None = None
    sample: int = 0
    seed: int = 0


@lru_cache(maxsize=1)  # a process opens them once for all of its units
def opened(opening: Opening) -> Cases:
    """The cases; raises UserError."""
    if opening.listing is not None:
        return ListedCases(opening.listing)
    assert opening.kind is not None
    return RecordCases(opening.path, opening.kind, opening.sample, opening.seed)


def spread(total: int, sample: int, seed: int) -> np.ndarray:
    """[M] int64, rising: `sample` of `total` numbers, one of each stretch; all where there are no more."""
    if not 0 < sample < total:
        return np.arange(total)
    edges = np.arange(sample + 1) * total // sample
    return np.random.default_rng(seed).integers(edges[:-1], edges[1:])


class RecordCases:
    """Records of shards, JSON lines or a folder of pictures; see `Cases`.

    Raises:
        UserError: they cannot be read at all.
    """

    def __init__(self, path: str, kind: SampleKind, sample: int = 0, seed: int = 0) -> None:
        self._source = open_source(path, kind)
        self._chosen = spread(len(self._source), sample, seed)

    def __len__(self) -> int:
        return len(self._chosen)

    def case(self, number: int) -> PatientCase:
        """See `Cases.case`."""
        try:
            record = self._source.record(int(self._chosen[number]))
        except BadRecordError as error:
            return PatientCase(str(error.origin), found=(Symptom(Finding.RECORD, error.reason),))
        return case_of(record, self._source.kind)

    def expect(self, first: int, stop: int) -> None:
        """See `Cases.expect`."""
        if len(self._chosen) == len(self._source):
            self._source.expect(first, stop)


def case_of(record: Record, kind: SampleKind) -> PatientCase:
    """What of a record is read as such a kind, whatever its fields hold."""
    annotation, place = record.annotation, str(record.origin)
    pictures = () if record.picture is None else (record.picture,)
    if kind is SampleKind.TEXT:
        return PatientCase(place, (), (Told("text", annotation.get("text"), False),), record=record)
    if kind is SampleKind.IMAGE:
        return PatientCase(place, pictures, record=record)
    captions = annotation.get("captions", annotation.get("caption", []))
    texts = [Told("caption", one, True) for one in _several(captions)]
    boxes = list[Boxed]()
    if kind is SampleKind.REGION:
        entries = [one for one in _several(annotation.get("regions", [])) if isinstance(one, dict)]
        boxes = [Boxed(one.get("phrase"), one.get("box")) for one in entries]
        texts += [Told("phrase", one.phrase, True) for one in boxes]
    return PatientCase(place, pictures, tuple(texts), tuple(boxes), record=record)


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else [value]


class ListedCases:
    """Rows of a table that were listed, `PART` a file; see `Cases`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        files = sorted(folder.glob("*.jsonl"))
        self._known: tuple[int, list[bytes]] = (-1, [])
        self._count = PART * max(0, len(files) - 1) + (len(self._lines(len(files) - 1)) if files else 0)

    def __len__(self) -> int:
        return self._count

    def case(self, number: int) -> PatientCase:
        """See `Cases.case`."""
        return PatientCase.from_line(self._lines(number // PART)[number % PART])

    def expect(self, first: int, stop: int) -> None:
        """See `Cases.expect`."""

    def _lines(self, part: int) -> list[bytes]:
        if self._known[0] != part:
            try:
                with open_regular(self._folder / f"{part:06d}.jsonl") as file:
                    self._known = part, file.readlines()
            except OSError as error:
                raise UserError(
                    f"{self._folder} cannot be read ({error.strerror}); run the command again"
                ) from error
        return self._known[1]
