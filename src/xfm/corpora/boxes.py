"""Annotated boxes, fitted one by one to the picture that was read."""

from collections import Counter
from collections.abc import Sequence
from math import isfinite

from xfm.corpora.source_record import Box, PhraseBox
from xfm.data.tokenizer import normalise_caption

CLIPPED, OUTSIDE, NO_AREA = "region clipped", "region outside its picture", "region without area"
BAD_BOX, NO_PHRASE, OTHER_SIZE = (
    "region without four numbers",
    "region without phrase",
    "region of another size",
)
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
    """Regions within the picture that is written; a faulty one does not touch the others.

    `said` is the width and height that annotations refer to ((1, 1): fractions, None: the picture's), `size`
    of the upright picture that was read, `target` of the one that is written. `told` counts what was clipped
    or dropped.
    """
    if not regions:
        return []
    said = said or size
    if said != (1, 1) and not _alike(said, size):
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
            found.append(PhraseBox(phrase, fitted))
    return found


def _alike(said: tuple[float, float], size: tuple[int, int]) -> bool:
    """Whether two sizes are of one picture, shrunk or not; a turned picture is another."""
    if min(said) <= 0 or not all(map(isfinite, said)):
        return False
    return abs(said[0] * size[1] / (said[1] * size[0]) - 1) < _SAME_SHAPE + 1 / min(size)


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
