"""The filter of records: what is written of a record, or why it is left out. Both passes share it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any

from xfm.config.corpora import PrepareConfig
from xfm.core.errors import import_extra
from xfm.corpora.images import shrunk
from xfm.corpora.source_record import Box, PhraseBox, SourceRecord
from xfm.data.image_formats import Header, ImageError, ImageFormat
from xfm.data.images import byte_limit, checked_header, decode, read_image, too_many_bytes
from xfm.data.records import is_text
from xfm.data.tokenizer import normalise_caption

CLIPPED, OUTSIDE, NO_AREA = "region clipped", "region outside its picture", "region without area"
BAD_BOX, NO_PHRASE = "region without four numbers", "region without phrase"
OTHER_SIZE = "region of another size"
_SAME_SHAPE = 0.02
"""How far the ratios of width and height may be apart of a picture and of what its annotations say."""
_LEAST = 1.0
"""Pixels of a side of a box that is of use."""


def fitted_regions(
    regions: Sequence[PhraseBox],
    said: tuple[float, float] | None,
    size: tuple[int, int],
    target: tuple[int, int],
    told: Counter[str],
) -> list[PhraseBox]:
    """Regions within the picture that is written; a faulty one does not touch the others. `said` is the width
    and height that annotations refer to ((1, 1): fractions, None: the picture's), `size` of the upright
    picture that was read, `target` of the one that is written. `told` counts what was clipped or dropped."""
    if not regions:
        return []
    said = said or size
    # Of one picture, shrunk or not; a turned picture is another.
    if said != (1, 1) and not (
        min(said) > 0
        and all(map(isfinite, said))
        and abs(said[0] * size[1] / (said[1] * size[0]) - 1) < _SAME_SHAPE + 1 / min(size)
    ):
        told[OTHER_SIZE] += len(regions)
        return []
    found = []
    for phrase, box in regions:
        if not normalise_caption(phrase, 1):
            told[NO_PHRASE] += 1
            continue
        fitted, problem = _fitted(box, said, target)
        if problem:
            told[problem] += 1
        if fitted is not None:
            found.append((phrase, fitted))
    return found


def _fitted(box: Box, said: tuple[float, float], target: tuple[int, int]) -> tuple[Box | None, str]:
    """The box in the target's pixels, None where nothing is left, and its flaw."""
    try:
        box = tuple(map(float, box))  # pyright: ignore[reportAssignmentType]
    except (TypeError, ValueError, OverflowError):
        return None, BAD_BOX
    if len(box) != 4 or not all(map(isfinite, box)):
        return None, BAD_BOX
    wide, high = target[0] / said[0], target[1] / said[1]
    left, top, width, height = box[0] * wide, box[1] * high, box[2] * wide, box[3] * high
    if width <= 0 or height <= 0:
        return None, NO_AREA
    right, bottom = min(left + width, target[0]), min(top + height, target[1])
    inner_left, inner_top = max(left, 0.0), max(top, 0.0)
    if right - inner_left < _LEAST or bottom - inner_top < _LEAST:
        beyond = right - inner_left < min(width, _LEAST) or bottom - inner_top < min(height, _LEAST)
        return None, OUTSIDE if beyond else NO_AREA
    # Rounding of annotations, and of fractions, sticks out by less than half a pixel.
    clipped = min(left, top) < -0.5 or left + width > target[0] + 0.5 or top + height > target[1] + 0.5
    rounded = (*_side(inner_left, right, target[0]), *_side(inner_top, bottom, target[1]))
    return (rounded[0], rounded[2], rounded[1], rounded[3]), CLIPPED if clipped else ""


def _side(low: float, high: float, end: int) -> tuple[float, float]:
    start = round(low, 2)
    return start, round(min(round(high, 2), end) - start, 2)


BAD = "damaged"
"""The one reason that counts against --max-bad; all others were asked for."""
SMALL, LONG = "picture too small", "picture too long or too wide"
WORDS, LANGUAGE, NO_WORDS = "caption or text too short or too long", "another language", "no text"
DUPLICATE, ALIKE, EVALUATED = "duplicate", "looks like another", "picture of an evaluation"
_WHOLE_END = 64
"""Bytes at whose end a whole JPEG says that it ends: programs put some zeros behind."""


@dataclass(frozen=True)
class FilterResult:
    """Outcome for a record: why it is left out, or empty; the flaw of a damaged one; bytes of the picture as
    found, or of the text; JSON beside it; `parts`, captions and regions dropped or repaired, by reason."""

    reason: str = ""
    detail: str = ""
    data: bytes = b""
    header: Header | None = None
    annotation: dict[str, Any] = field(default_factory=dict)
    parts: Counter[str] = field(default_factory=Counter)


def filter_record(record: SourceRecord, config: PrepareConfig, needs_text: bool) -> FilterResult:
    """The outcome for a record; `needs_text` leaves out pictures without captions and regions."""
    if record.flaw:
        return FilterResult(BAD, record.flaw)
    if record.text is not None:
        reason = _unfit(record.text, config)
        return FilterResult(reason) if reason else FilterResult(data=record.text.encode("utf-8"))
    try:
        data = record.picture
        if data is None:
            raise ImageError("the picture is missing")
        if isinstance(data, Path):
            data = read_image(data)
        elif len(data) > (limit := byte_limit()):
            raise ImageError(f"the picture {too_many_bytes(len(data), limit)}")
        header = checked_header(data)
        if not looks_whole(data, header):
            decode(data)
    except ImageError as error:
        return FilterResult(BAD, str(error))
    short, long = sorted((header.width, header.height))
    if short < config.min_side:
        return FilterResult(SMALL)
    if config.max_aspect and long > config.max_aspect * short:
        return FilterResult(LONG)
    parts, unfit = Counter(record.left_out), Counter[str]()
    captions = [one for one in record.captions if not (why := _unfit(one, config)) or unfit.update([why])]
    size = header.width, header.height
    regions = fitted_regions(record.regions, record.size, size, shrunk(header, config.max_side), parts)
    if not captions and not regions and (needs_text or unfit):
        return FilterResult(unfit.most_common(1)[0][0] if unfit else NO_WORDS)
    parts.update({f"caption: {why}": count for why, count in unfit.items()})
    annotation: dict[str, Any] = {"id": record.name}
    if captions:
        annotation["captions"] = captions
    if regions:
        annotation["regions"] = [{"phrase": phrase, "box": list(box)} for phrase, box in regions]
    return FilterResult(data=data, header=header, annotation=annotation, parts=parts)


def _unfit(text: str, config: PrepareConfig) -> str:
    """Reason against a caption or text, or empty."""
    if not is_text(text) or not normalise_caption(text, 1):
        return NO_WORDS
    words = len(text.split())
    if words < config.min_words or (config.max_words and words > config.max_words):
        return WORDS
    if config.language:
        identifier = import_extra("py3langid", "--language", "language")
        return LANGUAGE if identifier.classify(text)[0] != config.language else ""
    return ""


def looks_whole(data: bytes, header: Header) -> bool:
    """Whether the file ends as a complete one; others are decoded to see."""
    if header.format is ImageFormat.JPEG:
        return data[-_WHOLE_END:].rstrip(b"\0\n\r").endswith(b"\xff\xd9")
    if header.format is ImageFormat.PNG:
        return b"IEND" in data[-_WHOLE_END:]
    if header.format is ImageFormat.WEBP:
        return int.from_bytes(data[4:8], "little") + 8 <= len(data)
    return False
