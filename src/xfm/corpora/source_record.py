"""What a reader of a corpus gives, one record after the other, and the pieces in which a corpus is read."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from xfm.core.errors import UserError, excerpt

Box = tuple[float, float, float, float]
"""Left, top, width, height in pixels of the upright picture, or of the size that its annotations say."""


class PhraseBox(NamedTuple):
    """A phrase and its box, which may lie beyond the picture."""

    phrase: str
    box: Box


@dataclass(frozen=True)
class SourceRecord:
    """A picture with what is said of it, or a text, as it is found.

    Attributes:
        name: by which people find it in the corpus: its id there, or file and row.
        picture: its file or its bytes; None of a text.
        captions: of the whole picture.
        regions: phrases with boxes.
        text: plain text; None of a picture.
        size: width and height that the boxes refer to; (1, 1) of fractions, None where they are the
            picture's own.
        known_as: names that other corpora know the picture by, such as coco:139.
        left_out: parts of it that the reader has left out, by reason.
        flaw: why it cannot be used; empty where it can.
    """

    name: str
    picture: Path | bytes | None = None
    captions: tuple[str, ...] = ()
    regions: tuple[PhraseBox, ...] = ()
    text: str | None = None
    size: tuple[float, float] | None = None
    known_as: tuple[str, ...] = ()
    left_out: dict[str, int] = field(default_factory=dict)
    flaw: str = ""

    def to_line(self) -> str:
        """The record as a line of JSON, for a listing; its picture must be no bytes."""
        plain = {name: value for name, value in asdict(self).items() if value not in (None, "", (), {})}
        if self.picture is not None:
            plain["picture"] = str(self.picture)
        return json.dumps(plain) + "\n"

    @classmethod
    def from_line(cls, line: str) -> "SourceRecord":
        """The record of a line of a listing."""
        plain: dict[str, Any] = json.loads(line)
        if "picture" in plain:
            plain["picture"] = Path(plain["picture"])
        plain["regions"] = tuple(PhraseBox(phrase, tuple(box)) for phrase, box in plain.get("regions", ()))
        for name in ("captions", "known_as"):
            plain[name] = tuple(plain.get(name, ()))
        if "size" in plain:
            plain["size"] = tuple(plain["size"])
        return cls(**plain)


def number_or_nan(value: object) -> float:
    """A number of annotations, NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not -1e30 < value < 1e30:
        return float("nan")
    return float(value)


def json_object(data: bytes) -> dict[str, Any]:
    """The object of the JSON beside a picture; raises UserError."""
    try:
        found = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UserError(f"the JSON is invalid ({excerpt(str(error))})") from None
    if not isinstance(found, dict):
        raise UserError("the JSON is no object")
    return found


class Piece(NamedTuple):
    """A part of a corpus, from which a shard is made: records or bytes of a file, as its reader counts."""

    file: str
    start: int
    stop: int


class CorpusReader(Protocol):
    """Reads a corpus; made anew in every process.

    Attributes:
        licence: that it was published under; empty of own data.
        needs_text: whether a picture of which nothing is said is left out.
    """

    licence: str
    needs_text: bool

    def inputs(self) -> Iterable[Path]:
        """The files by whose names and sizes the corpus is known again, in a fixed order; raises UserError.

        Pictures that annotations name are none of them: there may be millions.
        """
        ...

    def pieces(self, listings: Path) -> Iterator[Piece]:
        """The pieces, in a fixed order, whoever asks.

        Args:
            listings: a folder, to be made where it is needed, for what `records` shall find again.

        Raises:
            UserError: the corpus is not there, or damaged.
        """
        ...

    def records(self, piece: Piece, listings: Path) -> Iterator[SourceRecord]:
        """The records of a piece; raises UserError where a file cannot be read."""
        ...
