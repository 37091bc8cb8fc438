"""Records that a corpus reader gives, and the pieces in which a corpus is read."""

import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple

from xfm.config.corpora import PrepareConfig
from xfm.core.files import open_regular

Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels of the upright picture, or of the size that its annotations say."""
PhraseBox = tuple[str, Box]
"""A phrase and its box, which may lie beyond the picture."""


@dataclass(frozen=True)
class SourceRecord:
    """A picture (file or bytes) with its annotations, or a plain text, as found. `name` is its id in the
    corpus, or file and row; `size` what the boxes refer to, (1, 1) of fractions, None for the picture's own;
    `known_as` names in other corpora, such as coco:139; `left_out` counts parts that the reader dropped by
    reason; `flaw` says why it cannot be used."""

    name: str
    picture: Path | bytes | None = None
    captions: tuple[str, ...] = ()
    regions: tuple[PhraseBox, ...] = ()
    text: str | None = None
    size: tuple[float, float] | None = None
    known_as: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    flaw: str = ""

    def to_line(self, listings: Path) -> str:
        """A line of JSON, no picture of bytes. Listings are moved: paths below their folder are relative."""
        plain = {name: value for name, value in asdict(self).items() if value not in (None, "", (), {})}
        if isinstance(self.picture, Path) and self.picture.is_relative_to(listings):
            plain["picture"] = str(self.picture.relative_to(listings))
        elif self.picture is not None:
            plain["picture"] = str(self.picture)
        return json.dumps(plain) + "\n"

    @classmethod
    def from_line(cls, line: bytes, listings: Path) -> "SourceRecord":
        """Inverse of `to_line`."""
        plain: dict[str, Any] = json.loads(line)
        if "picture" in plain:
            plain["picture"] = listings / plain["picture"]
        plain["regions"] = tuple((phrase, tuple(box)) for phrase, box in plain.get("regions", ()))
        for name in ("captions", "known_as"):
            plain[name] = tuple(plain.get(name, ()))
        if "size" in plain:
            plain["size"] = tuple(plain["size"])
        return cls(**plain)


def number_or_nan(value: object) -> float:
    """A number of annotations; NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e30 < value < 1e30:
        return float("nan")
    return float(value)


class Piece(NamedTuple):
    """A part of a corpus, from which a shard is made: records or bytes of a file, as its reader counts."""

    file: str
    start: int
    stop: int


class CorpusReader(ABC):
    """Reads a corpus, in every process; `needs_text`: pictures without text are left out."""

    licence = ""
    needs_text = True

    def __init__(self, source: Path, config: PrepareConfig) -> None:
        self.source, self.config = source, config

    @abstractmethod
    def inputs(self) -> Iterable[Path]:
        """Files whose names and sizes identify the corpus, in a fixed order; not the (many) pictures."""

    @abstractmethod
    def pieces(self, listings: Path) -> Iterator[Piece]:
        """The pieces in a fixed order, or UserError; `listings` is a folder, to be made, for `records`."""

    @abstractmethod
    def records(self, piece: Piece, listings: Path) -> Iterator[SourceRecord]:
        """Records of a piece; raises UserError where a file cannot be read."""


class GatheredReader(CorpusReader):
    """Lists joined records, so that a process reads the listing of its own shard alone."""

    @abstractmethod
    def gathered(self, listings: Path) -> Iterator[SourceRecord]:
        """All records, in a fixed order."""

    def pieces(self, listings: Path) -> Iterator[Piece]:
        rest = self.gathered(listings)
        for number in count():
            if not (part := [*islice(rest, self.config.shard_size)]):
                return
            listings.mkdir(exist_ok=True)
            name = f"{number:06d}.jsonl"
            with (listings / name).open("w", encoding="utf-8", newline="\n") as file:
                file.writelines(record.to_line(listings) for record in part)
            yield Piece(name, 0, len(part))

    def records(self, piece: Piece, listings: Path) -> Iterator[SourceRecord]:
        with open_regular(listings / piece.file) as file:
            for line in file:
                yield SourceRecord.from_line(line, listings)
