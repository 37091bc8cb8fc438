"""Numbers in names of shards: ranges (`part-{00000..00012}.tar`), and gaps."""

import math
import re
from collections.abc import Iterable
from itertools import pairwise

from xfm.core.errors import UserError

_NUMBERED = re.compile(r"^(.*?)(\d+)(\.[a-z]+)$")
RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
_MOST = 10_000_000
"""Names that a text may stand for."""


def expanded(text: str, start: int = 0) -> list[str]:
    """The names that a text with ranges from `start` on stands for, in order; the text itself where it has
    none. Raises UserError for more than ten million."""
    check_ranges(text, start)
    span = RANGE.search(text, start)
    if span is None:
        return [text]
    first, last = span.groups()
    names = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    return [name for n in names for name in expanded(text[: span.start()] + n + text[span.end() :], start)]


def check_ranges(text: str, start: int = 0) -> None:
    """Refuse ranges that stand for more than ten million names; raises UserError."""
    ranges = [(int(first), int(last)) for first, last in RANGE.findall(text, start)]
    if math.prod(max(0, last - first + 1) for first, last in ranges) > _MOST:
        raise UserError(f"{text}: the ranges stand for more than {_MOST:,} names; check their numbers")


def check_numbers(place: str, files: Iterable[str]) -> None:
    """Refuse files whose numbers have a gap."""
    matches = [match for match in map(_NUMBERED.match, files) if match]
    for stem in {match.group(1) for match in matches}:
        found = sorted((int(match.group(2)), match.group(2)) for match in matches if match.group(1) == stem)
        for (low, before), (high, after) in pairwise(found):
            if high > low + 1:
                raise UserError(
                    f"{place}: a file is missing between {stem}{before} and {after}; download or prepare it "
                    "again, or name the files that you want one by one."
                )
