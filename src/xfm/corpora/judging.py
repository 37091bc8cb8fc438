"""The filter of records: what is written of a record, or why it is left out.

Both passes share it: what it leaves out is no duplicate of anything.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

from xfm.config.corpora import PrepareConfig
from xfm.core.errors import UserError
from xfm.corpora.boxes import fitted_regions
from xfm.corpora.recoding import Recoding
from xfm.corpora.source_record import SourceRecord
from xfm.data.picture_formats import Header, PictureError, PictureFormat
from xfm.data.pictures import byte_limit, checked_header, decode, read_picture, too_many_bytes
from xfm.data.records import is_text
from xfm.data.tokenizer import normalise_caption

BAD = "damaged"
"""The one reason that counts against --max-bad; all others were asked for."""
SMALL, LONG = "picture too small", "picture too long or too wide"
WORDS, LANGUAGE, NO_WORDS = "caption or text too short or too long", "another language", "no text"
DUPLICATE, ALIKE, EVALUATED = "duplicate", "looks like another", "picture of an evaluation"
_WHOLE_END = 64
"""Bytes at whose end a whole JPEG says that it ends: programs put some zeros behind."""


@dataclass(frozen=True)
class Judgement:
    """Outcome for a record.

    Attributes:
        reason: why it is left out, or empty.
        detail: flaw of a damaged record.
        data: bytes of the picture as found, or of the text.
        annotation: JSON beside the picture.
        parts: captions and regions that were dropped or repaired, by reason.
        partial: whether a part of the picture is lost.
    """

    reason: str = ""
    detail: str = ""
    data: bytes = b""
    header: Header | None = None
    annotation: dict[str, Any] = field(default_factory=dict)
    parts: Counter[str] = field(default_factory=Counter)
    partial: bool = False


@dataclass(frozen=True)
class Judge:
    """Filters records one by one; `needs_text` leaves out pictures without captions and regions."""

    config: PrepareConfig
    needs_text: bool

    @property
    def recoding(self) -> Recoding:
        """How pictures are encoded."""
        return Recoding(self.config.max_side, self.config.quality)

    def __call__(self, record: SourceRecord) -> Judgement:
        """The outcome for a record."""
        if record.flaw:
            return Judgement(BAD, record.flaw)
        if record.text is not None:
            return _text(record.text, self.config)
        try:
            data = _bytes(record.picture)
            header = checked_header(data)
            partial = not looks_whole(data, header) and decode(data).flaw is not None
        except PictureError as error:
            return Judgement(BAD, str(error))
        short, long = sorted((header.width, header.height))
        if short < self.config.min_side:
            return Judgement(SMALL)
        if self.config.max_aspect and long > self.config.max_aspect * short:
            return Judgement(LONG)
        return replace(self._described(record, data, header), partial=partial)

    def _described(self, record: SourceRecord, data: bytes, header: Header) -> Judgement:
        parts, unfit = Counter(record.left_out), Counter[str]()
        captions = [
            one for one in record.captions if not (why := _unfit(one, self.config)) or unfit.update([why])
        ]
        size = header.width, header.height
        regions = fitted_regions(record.regions, record.size, size, self.recoding.target(*size), parts)
        if not captions and not regions and (self.needs_text or unfit):
            return Judgement(unfit.most_common(1)[0][0] if unfit else NO_WORDS)
        parts.update({f"caption: {why}": count for why, count in unfit.items()})
        annotation: dict[str, Any] = {"id": record.name}
        if captions:
            annotation["captions"] = captions
        if regions:
            annotation["regions"] = [{"phrase": phrase, "box": list(box)} for phrase, box in regions]
        return Judgement(data=data, header=header, annotation=annotation, parts=parts)


def _text(text: str, config: PrepareConfig) -> Judgement:
    reason = _unfit(text, config)
    return Judgement(reason) if reason else Judgement(data=text.encode("utf-8"))


def _unfit(text: str, config: PrepareConfig) -> str:
    """Reason against a caption or text, or empty."""
    if not is_text(text) or not normalise_caption(text, 1):
        return NO_WORDS
    words = len(text.split())
    if words < config.min_words or (config.max_words and words > config.max_words):
        return WORDS
    if config.language and _language(text) != config.language:
        return LANGUAGE
    return ""


def _language(text: str) -> str:
    return _identifier()(text)[0]


@lru_cache(maxsize=1)
def _identifier() -> Any:
    try:
        from py3langid import classify
    except ImportError as error:
        raise UserError("--language needs py3langid: pip install 'xfm[language]'") from error
    return classify


def _bytes(picture: Path | bytes | None) -> bytes:
    if isinstance(picture, bytes):
        if len(picture) > (limit := byte_limit()):
            raise PictureError(f"the picture {too_many_bytes(len(picture), limit)}")
        return picture
    if picture is None:
        raise PictureError("the picture is missing")
    return read_picture(picture)


def looks_whole(data: bytes, header: Header) -> bool:
    """Whether the file ends as a complete one; others are decoded to see."""
    if header.format is PictureFormat.JPEG:
        return data[-_WHOLE_END:].rstrip(b"\0\n\r").endswith(b"\xff\xd9")
    if header.format is PictureFormat.PNG:
        return b"IEND" in data[-_WHOLE_END:]
    if header.format is PictureFormat.WEBP:
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return False


def counted(counts: Mapping[str, int]) -> dict[str, int]:
    """Counts by name, sorted."""
    return {name: counts[name] for name in sorted(counts) if counts[name]}
