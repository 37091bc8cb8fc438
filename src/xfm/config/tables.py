"""Files of tables, boxes in them, and rows that may be left out. Nothing here imports torch."""

from enum import StrEnum
from pathlib import Path

PLAIN = (".jsonl", ".ndjson", ".json", ".csv", ".tsv")
"""Texts, which may also be packed: `.csv.gz`."""
PACKED = ".gz"
TABLES = (*PLAIN, ".parquet")
LISTED = f"{', '.join(TABLES)} (texts also as {PACKED})"
"""All of them, for messages."""


def table_kind(path: Path | str) -> str | None:
    """Which of `TABLES` a file is by its name; None where it is none."""
    name = Path(path).name.lower()
    plain = name.removesuffix(PACKED)
    found = next((kind for kind in TABLES if plain.endswith(kind)), None)
    return found if name == plain or found in PLAIN else None


class BoxFormat(StrEnum):
    """The four numbers of a box, the origin being the picture's top left corner."""

    XYWH = "xywh"
    XYXY = "xyxy"
    CXCYWH = "cxcywh"

    @property
    def meaning(self) -> str:
        """The four numbers in words."""
        return _MEANINGS[self]


_MEANINGS = {
    BoxFormat.XYWH: "left, top, width, height",
    BoxFormat.XYXY: "left, top, right, bottom",
    BoxFormat.CXCYWH: "centre x, centre y, width, height",
}


class BoxUnit(StrEnum):
    """Pixels of the picture, or fractions of its width and height."""

    PIXEL = "pixel"
    FRACTION = "fraction"


MAX_BAD = 100
"""Rows that may be left out where nobody said how many; and never more than half of a split."""
