"""The fixed colour vocabulary, by integer arithmetic only, so that every machine agrees."""

import numpy as np
from numpy.typing import NDArray

COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white", "grey")
UNNAMED = len(COLOURS)
_INDEX = {name: i for i, name in enumerate(COLOURS)}

# Hues in degrees (below this bound: this colour) for pixels that are bright and saturated.
_HUES = (
    (13, "red"), (40, "orange"), (66, "yellow"), (170, "green"), (250, "blue"), (310, "purple"), (361, "red")
)  # fmt: skip


def classify(rgb: NDArray[np.uint8]) -> NDArray[np.int64]:
    """[N] int64 index into COLOURS of pixels [N, 3] uint8; UNNAMED where no colour fits."""
    r, g, b = (rgb[:, i].astype(np.int64) for i in range(3))
    top, low = rgb.max(1).astype(np.int64), rgb.min(1).astype(np.int64)
    span = top - low
    safe = np.maximum(span, 1)
    hue = np.where(
        top == r,
        (60 * (g - b)) // safe % 360,
        np.where(top == g, 120 + (60 * (b - r)) // safe, 240 + (60 * (r - g)) // safe),
    )
    colour = np.empty(len(rgb), np.int64)
    for bound, name in reversed(_HUES):
        colour[hue < bound] = _INDEX[name]
    warm = (hue < 45) | (hue >= 340)
    # Dark or dull reds and oranges are brown; light ones are pink; skin-like tints count as brown too.
    dull = span * 100 < 62 * top
    colour[warm & (hue < 45) & (hue >= 5) & dull & (top < 235)] = _INDEX["brown"]
    colour[warm & (top < np.where((hue >= 9) & (hue < 45), 175, 140))] = _INDEX["brown"]
    colour[((hue >= 310) | (hue < 9)) & (low > 80) & (top > 200)] = _INDEX["pink"]
    colour[(hue >= 290) & (hue < 345) & (top > 200) & (low > 60)] = _INDEX["pink"]
    grey = (span * 100 < 21 * top) | (span < 14)
    # Cream and skin tints have no name here.
    colour[grey & (hue < 60) & (span * 10 > top) & (top > 200)] = UNNAMED
    grey &= colour != UNNAMED
    colour[grey] = _INDEX["grey"]
    colour[grey & (low > 202)] = _INDEX["white"]
    colour[top < 72] = _INDEX["black"]
    return colour


# Backgrounds: a name of the vocabulary and its RGB, chosen to differ from the pictures' own flat colours.
BACKGROUNDS: tuple[tuple[str, tuple[int, int, int]], ...] = (
    ("red", (204, 72, 72)),
    ("orange", (248, 196, 140)),
    ("yellow", (247, 234, 160)),
    ("green", (168, 208, 158)),
    ("blue", (150, 188, 232)),
    ("purple", (190, 166, 222)),
    ("pink", (248, 205, 220)),
    ("brown", (172, 138, 108)),
    ("black", (44, 44, 48)),
    ("white", (246, 246, 244)),
    ("grey", (158, 162, 166)),
)


def measured(rgb: NDArray[np.uint8]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Percentages (rounded down) of pixels [N, 3] in every colour of COLOURS, and of those that are hard to
    see on each of BACKGROUNDS (L1 distance below 100)."""
    packed = rgb[:, 0].astype(np.int32) << 16 | rgb[:, 1].astype(np.int32) << 8 | rgb[:, 2]
    distinct, counts = np.unique(packed, return_counts=True)
    colours = np.stack([distinct >> 16, distinct >> 8 & 255, distinct & 255], 1)
    classes, total = classify(colours.astype(np.uint8)), max(1, int(counts.sum()))
    backgrounds = np.array([colour for _, colour in BACKGROUNDS], np.int64)
    near = np.abs(colours.astype(np.int64)[:, None] - backgrounds).sum(2) < 100  # [C, backgrounds]
    hidden = [counts[near[:, i]] for i in range(len(BACKGROUNDS))]
    parts = [counts[classes == i] for i in range(len(COLOURS))], hidden
    shares, crowded = (tuple(int(one.sum()) * 100 // total for one in each) for each in parts)
    return shares, crowded
