"""Numbered ranges in names of shards: `part-{00000..00012}.tar`."""

import re

RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def expanded(text: str, start: int = 0) -> list[str]:
    """The names that a text with ranges stands for, in order; the text itself where it has none.

    Args:
        text: the name.
        start: where ranges may begin.
    """
    span = RANGE.search(text, start)
    if span is None:
        return [text]
    first, last = span.groups()
    names = [f"{n:0{len(first)}d}" for n in range(int(first), int(last) + 1)]
    return [name for n in names for name in expanded(text[: span.start()] + n + text[span.end() :], start)]
