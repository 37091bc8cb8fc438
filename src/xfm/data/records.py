"""Raw records and their samples; whatever is wrong with one is a BadRecordError. Records come from unchecked
files: they are parsed as JSON, text and images within size limits, and never evaluated."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property
from typing import Any, TypeGuard

from torch import Tensor

from xfm.core.errors import excerpt, printable
from xfm.data.images import ImageError, decode
from xfm.data.schema import ImageSample, Origin, RegionAnnotation, TextSample
from xfm.data.tokenizer import has_words

Sample = TextSample | ImageSample
MAX_ANNOTATION = 4 << 20
"""Bytes of a record's JSON or text, and of a row or a text of a table, at most."""
# A box may stick out this far (rounding by annotation tools) and is then clipped.
OVERHANG = 1.0
_NUMBER = re.compile(r"\s*[+-]?(\d+(\.\d*)?|\.\d+)(e[+-]?\d+)?\s*", re.IGNORECASE)
_HALF_PAIR = re.compile(r"[\ud800-\udfff]")


class SampleKind(StrEnum):
    """What a source yields, and so a stream."""

    TEXT = "text"
    IMAGE = "image"
    PAIR = "pair"
    REGION = "region"

    @cached_property
    def number(self) -> int:
        """Its place, from 0: each kind has random numbers of its own."""
        return [*SampleKind].index(self)


class BadRecordError(Exception):
    """A record that cannot be used: where it is and why."""

    def __init__(self, origin: Origin, reason: str) -> None:
        self.origin = origin
        self.reason = printable(reason)
        super().__init__(f"{origin}: {self.reason}")


class NoAnnotation(BadRecordError):
    """There is a picture, and nothing beside it."""


@dataclass(frozen=True)
class Record:
    """A record on disk: its encoded image (None in text), its JSON object ({"caption": ..} or {"text": ..} of
    a .txt member, or {}), and [3, H, W] uint8 of an image that is cached."""

    origin: Origin
    picture: bytes | None
    annotation: Mapping[str, Any]
    decoded: Tensor | None = None


def parse_annotation(data: bytes, origin: Origin) -> dict[str, Any]:
    """A JSON object from bytes; raises BadRecordError."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise BadRecordError(origin, f"the JSON is invalid ({error})") from None
    if not isinstance(value, dict):
        raise BadRecordError(origin, f"the JSON is a {type(value).__name__}, not an object")
    return value


def to_sample(record: Record, kind: SampleKind) -> Sample:
    """Decode and check a record as a sample of `kind`; raises BadRecordError with the reason."""
    if kind is SampleKind.TEXT:
        text = record.annotation.get("text")
        if text is None:
            raise BadRecordError(record.origin, f'there is no field "text"; {_fields(record)}')
        if not is_text(text):
            raise BadRecordError(record.origin, 'the field "text" is not a string')
        if not text.strip():
            raise BadRecordError(record.origin, "the text is empty")
        return TextSample(text, record.origin)
    if kind is SampleKind.IMAGE:
        return ImageSample(_decoded(record), record.origin)
    captions = record.annotation.get("captions", record.annotation.get("caption", []))
    captions = [captions] if isinstance(captions, str) else captions
    if not isinstance(captions, list) or not all(map(is_text, captions)):
        raise BadRecordError(record.origin, 'the field "captions" is not a list of strings')
    if not all(map(has_words, captions)):
        raise BadRecordError(record.origin, "a caption is empty")
    entries, wanted = [], '"captions"'
    if kind is SampleKind.REGION:
        entries, wanted = record.annotation.get("regions", []), '"captions" or "regions"'
    if not isinstance(entries, list):
        raise BadRecordError(record.origin, 'the field "regions" is not a list')
    if not entries and not captions:
        raise BadRecordError(record.origin, f"there is nothing in a field {wanted}; {_fields(record)}")
    pixels = _decoded(record)
    size = pixels.shape[2], pixels.shape[1]
    regions = tuple(_annotation(one, number, *size, record.origin) for number, one in enumerate(entries))
    return ImageSample(pixels, record.origin, tuple(captions), regions)


def is_number(text: str) -> bool:
    """Whether a text is a number as `float` reads it, but for infinity and NaN."""
    return _NUMBER.fullmatch(text) is not None


def is_text(value: object) -> TypeGuard[str]:
    """Whether a value is a string that UTF-8 can hold (JSON may smuggle in half a surrogate pair)."""
    return isinstance(value, str) and (value.isascii() or _HALF_PAIR.search(value) is None)


def _fields(record: Record) -> str:
    names = [excerpt(name, 30) for name in record.annotation]
    more = ", ..." if len(names) > 8 else ""
    return f"it has {', '.join(names[:8])}{more}" if names else "it has no fields"


def _decoded(record: Record) -> Tensor:
    if record.decoded is not None:
        return record.decoded
    if record.picture is None:
        raise BadRecordError(record.origin, "the picture is missing")
    try:
        return decode(record.picture)
    except ImageError as error:
        raise BadRecordError(record.origin, str(error)) from None


def _annotation(entry: object, number: int, width: int, height: int, origin: Origin) -> RegionAnnotation:
    if not isinstance(entry, dict):
        raise BadRecordError(origin, f"region {number} is not an object")
    phrase = entry.get("phrase")
    if not is_text(phrase) or not has_words(phrase):
        raise BadRecordError(origin, f"the phrase of region {number} is missing or empty")
    try:
        return phrase, check_box(entry.get("box"), width, height)
    except ValueError as error:
        raise BadRecordError(origin, f"the box of region {number} {error}") from None


def four_numbers(box: object) -> TypeGuard[Sequence[float]]:
    """Whether a value is a list of four numbers below 1e307, no truth values."""
    if not isinstance(box, list | tuple) or len(box) != 4:
        return False
    return all(isinstance(one, int | float) and not isinstance(one, bool) and abs(one) < 1e307 for one in box)


def check_box(box: object, width: int, height: int) -> tuple[float, float, float, float]:
    """A box [left, top, width, height] in pixels, clipped to its image; raises ValueError, whose message
    follows on "the box", when it is not four numbers, has no area, or sticks out by more than a pixel."""
    if not four_numbers(box):
        raise ValueError("is not four finite numbers [left, top, width, height]")
    x, y, w, h = map(float, box)
    right, bottom = x + w, y + h
    if w > 0 and h > 0 and min(x, y) >= 0 and right <= width and bottom <= height:
        return x, y, w, h
    shown = f"[{x:g}, {y:g}, {w:g}, {h:g}]"
    if w <= 0 or h <= 0:
        raise ValueError(f"{shown} has no area")
    left, top, right, bottom = max(x, 0.0), max(y, 0.0), min(right, width), min(bottom, height)
    sticks_out = min(x, y) < -OVERHANG or x + w > width + OVERHANG or y + h > height + OVERHANG
    if sticks_out or right <= left or bottom <= top:
        raise ValueError(f"{shown} lies outside its picture of {width} x {height} pixels")
    return left, top, right - left, bottom - top
