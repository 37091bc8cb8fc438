"""The examination of one record: checks of its boxes, pictures and texts, and keys for comparisons."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import torch

from xfm.config.corpora import DoctorConfig
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.core.errors import excerpt
from xfm.corpora.doctor.findings import Finding, Issue, Severity, Statistics
from xfm.corpora.doctor.records import PLAIN_FORM, DataRecord
from xfm.corpora.filtering import looks_whole
from xfm.corpora.images import hash_of, loaded
from xfm.data.collate import identity
from xfm.data.image_formats import ImageError
from xfm.data.images import checked_header, read_image
from xfm.data.records import BadRecordError, SampleKind, check_box, four_numbers, is_text, to_sample
from xfm.data.tokenizer import normalise_caption
from xfm.data.transforms import Boxes

_LEAST, _WHOLE = 2.0, 99


def checked_boxes(
    record: DataRecord, size: tuple[int, int]
) -> Iterator[tuple[Any, Any, Issue | None, float | None]]:
    """Phrase and box of each box of a record, as [left, top, width, height] in pixels of its first picture's
    size where it is four numbers, its flaw, and the percentage of the picture that it covers."""
    for phrase, box in record.boxes:
        if four_numbers(box) and record.form != PLAIN_FORM:
            told = Boxes(torch.tensor([box], dtype=torch.float64), *record.form)
            box = told.to_format(BoxFormat.XYWH).to_unit(BoxUnit.PIXEL, *size).data[0].tolist()
        yield phrase, box, *box_flaw(box, size)


def box_flaw(box: object, size: tuple[int, int]) -> tuple[Issue | None, float | None]:
    """The flaw of a box [left, top, width, height] in pixels, and the percentage of its picture it covers."""
    try:
        _, _, width, height = check_box(box, *size)
    except ValueError as error:
        detail = f"the box {error}"
        if not four_numbers(box):
            return Issue(Finding.BOX_WRONG, f"{detail}: {excerpt(repr(box))}"), None
        left, top, width, height = map(float, box)
        if width <= 0 or height <= 0:
            return Issue(Finding.BOX_EMPTY, detail), None
        beyond = max(-left, -top, left + width - size[0], top + height - size[1]) / max(size)
        return Issue(Finding.BOX_OUTSIDE, detail, min(beyond, 1e9)), None
    shown = f"{width:g} x {height:g} of {size[0]} x {size[1]} pixels"
    covered = 100 * width * height / (size[0] * size[1])
    if min(width, height) < min(_LEAST, *size):
        return Issue(Finding.BOX_TINY, shown, -min(width, height)), covered
    return Issue(Finding.BOX_WHOLE, shown) if covered >= _WHOLE else None, covered


class ImageCheck(NamedTuple):
    """Digest (64 bits), upright size in pixels (0 if undecodable), perceptual hash, and issues of a picture.
    The hash is None of an undecodable picture and of one of one colour."""

    digest: int
    width: int = 0
    height: int = 0
    likeness: int | None = None
    found: tuple[Issue, ...] = ()


def check_image(picture: bytes | Path, config: DoctorConfig) -> ImageCheck:
    """Check a picture; an unreadable file counts as undecodable, without a digest."""
    digest = 0
    try:
        data = read_image(picture) if isinstance(picture, Path) else picture
        digest = identity(data)
        header = checked_header(data)
        # At the scale of `xfm prepare` where the file ends as a whole one does; others as in training.
        pixels = loaded(data, header, (64, 64), looks_whole(data, header))
    except ImageError as error:
        return ImageCheck(digest, found=(Issue(Finding.PICTURE, str(error)),))
    found = list[Issue]()
    short, long = sorted((header.width, header.height))
    shown = f"{header.width} x {header.height} pixels"
    if short < config.min_side:
        found.append(Issue(Finding.SMALL, shown, -short))
    if long > config.max_aspect * short:
        found.append(Issue(Finding.LONG, shown, long / short))
    extremes: Any = pixels.getextrema()  # of RGB, a pair a channel
    if flat := all(high - low <= 4 for low, high in extremes):
        found.append(Issue(Finding.FLAT, "all of it has one colour"))
    return ImageCheck(digest, header.width, header.height, None if flat else hash_of(pixels), tuple(found))


check_image_file = lru_cache(maxsize=256)(check_image)
"""`check_image` of a file, remembered: rows of one picture follow one another."""


CAPTION_WORDS, TEXT_WORDS = 200, 100_000
"""Above which captions and plain texts are too long, where nobody said."""
_TAGS = "a|abbr|b|body|br|center|code|div|em|font|h[1-6]|head|hr|html|i|iframe|img|input|li|link|meta|ol|p"
_TAGS += "|pre|script|small|span|strong|style|sub|sup|table|tbody|td|th|tr|u|ul"
_HTML = re.compile(
    rf"</?(?:{_TAGS})(?:\s[^<>]{{0,500}})?/?>"
    r"|&(?:amp|lt|gt|quot|apos|nbsp|mdash|ndash|hellip|[rl][sd]quo|#x?[0-9a-fA-F]{1,6});",
    re.IGNORECASE,
)
# UTF-8 that was read as Windows-1252 or Latin-1: a lead byte, then one that continues it. Of most leads two
# pairs are asked for, since one may be a letter beside a quotation mark.
_LETTERS = "\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc"
_SIGNS = "\u2013\u2014\u2018-\u201a\u201c-\u201e\u2020-\u2022\u2026\u2030\u2039\u203a\u20ac\u2122"
_GARBLED = re.compile(
    f"\ufffd|[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x84\x86-\x9f]|\u00c2[\u00a0-\u00bf]"
    f"|\u00c3[{_LETTERS}{_SIGNS}]|[\u00c4\u00c5][{_LETTERS}]|(?:[\u00c2-\u00df][{_LETTERS}{_SIGNS}]){{2}}"
    "|\u00e2[\u0080\u20ac\u201a\u0192][\u0080-\uffff]|\u00f0\u0178[\u0080-\uffff]"
)
_RUN = re.compile(r"([^\W_])\1{11}")
_LOOKED, _REPEATED, _VARIED = 300, 10, 0.3
"""Of so many words, if there are as many as the second, this share must be different."""


def text_flaws(text: object, caption: bool, max_words: int = 0) -> Iterator[Issue]:
    """Issues of a text (any value); `max_words` 0 takes the limits above."""
    if not is_text(text):
        return  # the rule of training says so
    bare = text.strip()
    if not (normalise_caption(text, 1) if caption else bare):
        yield Issue(Finding.EMPTY_TEXT, f"the text is {excerpt(text)!r}")
        return
    shown = excerpt(bare, 200)
    words = bare.split()
    if len(words) > (most := max_words or (CAPTION_WORDS if caption else TEXT_WORDS)):
        yield Issue(Finding.LONG_TEXT, f"{len(words):,} words, more than {most:,}: {shown}", len(words))
    if len(bare) == 1:
        yield Issue(Finding.ONE_CHARACTER, shown)
    elif not any(map(str.isalpha, bare)):
        yield Issue(Finding.NO_LETTERS, shown, len(bare))
    head = words[:_LOOKED]
    if (len(head) >= _REPEATED and len(set(head)) < _VARIED * len(head)) or _RUN.search(bare):
        yield Issue(Finding.REPEATING, shown, len(bare))
    if found := _HTML.search(bare):
        yield Issue(Finding.HTML, _around(bare, found.start()), len(_HTML.findall(bare[:10_000])))
    if found := _GARBLED.search(bare):
        yield Issue(Finding.ENCODING, _around(bare, found.start()), len(_GARBLED.findall(bare[:10_000])))


def _around(text: str, place: int) -> str:
    start = max(0, place - 80)
    return ("..." if start else "") + excerpt(text[start:], 200)


@dataclass
class CheckedRecord:
    """Issues, and 64-bit keys for comparisons: `key` of the record, `asked` of its input without the label
    (0: none), `looks` (digest, perceptual hash) of pictures."""

    found: list[Issue]
    key: int = 0
    asked: int = 0
    looks: list[tuple[int, int]] = field(default_factory=list)


def check_record(
    record: DataRecord, kind: SampleKind | None, config: DoctorConfig, tally: Statistics
) -> CheckedRecord:
    """Check a record of a kind (None: a row of a table), and count its sizes and lengths."""
    done = CheckedRecord([*record.found])
    pictures = [
        check_image_file(one, config) if isinstance(one, Path) else check_image(one, config)
        for one in record.pictures
    ]
    for one in pictures:
        done.found += one.found
        if one.width:
            tally.measure("width in pixels", one.width)
            tally.measure("height in pixels", one.height)
        if one.likeness is not None and config.near_duplicates:
            done.looks.append((one.digest, one.likeness))
    _check_texts(record, kind, config, done, tally)
    size = (pictures[0].width, pictures[0].height) if pictures else (0, 0)
    for phrase, _, flaw, covered in checked_boxes(record, size) if size[0] else ():
        if flaw:
            whose = f"{excerpt(str(phrase))}: " if phrase else ""
            done.found.append(flaw._replace(detail=whose + flaw.detail))
        if covered is not None:
            tally.measure("percent of the picture in a box", covered)
    tally.labels.update(excerpt(label, 200) for label in record.labels)
    left_out = any(one.finding.harm is Severity.LEFT_OUT for one in done.found)
    if record.record is not None and kind is not None and not left_out:
        # Training's own rule; pixels are not decoded again.
        decoded = torch.empty(1, dtype=torch.uint8).expand(3, size[1], size[0]) if pictures else None
        try:
            to_sample(replace(record.record, decoded=decoded), kind)
        except BadRecordError as error:
            done.found.append(Issue(Finding.RECORD, error.reason))
    read = all(one.finding is not Finding.RECORD for one in done.found)
    if read and all(one.digest for one in pictures):
        if kind is not None and pictures:
            done.key = pictures[0].digest
        else:
            texts = [[name, text] for name, text, _ in record.texts]
            parts = [[one.digest for one in pictures], texts, [box for _, box in record.boxes]]
            done.key = _key([*parts, record.labels])
            done.asked = _key(parts) if record.labels else 0
    return done


def _check_texts(
    record: DataRecord, kind: SampleKind | None, config: DoctorConfig, done: CheckedRecord, tally: Statistics
) -> None:
    for name, text, caption in record.texts:
        flaws = text_flaws(text, caption, config.max_words)
        done.found += (one._replace(detail=f"{name}: {one.detail}") for one in flaws)
        if is_text(text):
            tally.measure(f"words of a {name}", len(text.split()))
    for name in ("caption", "phrase") if kind is not None else ():
        if own := sum(field == name for field, _, _ in record.texts):
            tally.measure(f"{name}s of a picture", own)


def _key(parts: object) -> int:
    return identity(json.dumps(parts, ensure_ascii=True, default=str).encode())
