"""Texts that are empty, too long, repetitive, HTML or of a wrong encoding."""

import re
from collections.abc import Iterator

from xfm.core.errors import excerpt
from xfm.corpora.doctor.findings import Finding, Issue
from xfm.data.records import is_text
from xfm.data.tokenizer import normalise_caption

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
