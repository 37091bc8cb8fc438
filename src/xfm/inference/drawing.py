"""Boxes with their labels, and heat maps, drawn on pictures."""

from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont, ImageOps

from xfm.core.errors import UserError
from xfm.inference.input_parsing import read_original

LEAST_SIDE = 480  # smaller pictures are enlarged, or no text would be readable beside their boxes
LONGEST_TEXT = 2000  # characters that are looked at: no picture is so wide that more would be readable
COLOURS = ("#e6194b", "#1f77d0", "#1a9850", "#d95f02", "#7b3fb5", "#00838f", "#b8860b", "#ad1457")
"""Of the boxes in turn; white text is readable on all of them."""

# From transparent (over orange, the last) to dark red: also in grey, more is darker.
_HEAT = "#fff7bc", "#800026", "#fb8c28"
_MOST_COVER = 0.8  # of the picture's light is hidden at most
Box = tuple[float, float, float, float]


def _enlarged(picture: object, least_side: int) -> tuple[Image.Image, int]:
    image = Image.fromarray(read_original(picture).permute(1, 2, 0).numpy())
    scale = max(1, -(-least_side // max(image.size)))
    return image.resize((image.width * scale, image.height * scale), Image.Resampling.LANCZOS), scale


def draw_boxes(
    picture: object, located: Sequence[Mapping[str, Any]], *, least_side: int = LEAST_SIDE
) -> Image.Image:
    """A new RGB picture with the boxes of `grounding` answers, their labels and scores. `located` holds
    `{"label", "score", "box": {"xmin", "ymin", "xmax", "ymax"}}` in pixels. A longer side below `least_side`
    is enlarged by a whole factor. UserError: an unreadable picture, or a box without an edge."""
    shown, scale = _enlarged(picture, least_side)
    draw = ImageDraw.Draw(shown)
    line = max(2, round(max(shown.size) / 240))
    draw.font = ImageFont.load_default(max(12, round(max(shown.size) / 32)))
    boxes: list[Box] = []
    for one in located:
        try:
            box = one["box"]
            left, top, right, bottom = (float(box[name]) * scale for name in ("xmin", "ymin", "xmax", "ymax"))
        except (KeyError, TypeError, ValueError):
            raise UserError(f"{dict(one)!r} has no box of xmin, ymin, xmax and ymax in pixels") from None
        left, right = sorted(min(max(x, 0), shown.width - 1) for x in (left, right))
        top, bottom = sorted(min(max(y, 0), shown.height - 1) for y in (top, bottom))
        boxes.append((left, top, right, bottom))
    for place, box in enumerate(boxes):
        draw.rectangle(box, outline=COLOURS[place % len(COLOURS)], width=line)
    taken: list[Box] = []
    for place, (one, box) in enumerate(zip(located, boxes, strict=True)):
        score = one.get("score")
        text = str(one.get("label", "")) + (f" {score:.2f}" if isinstance(score, float) else "")
        if text:
            taken.append(_label(draw, text, box, COLOURS[place % len(COLOURS)], taken))
    return shown


def _label(draw: ImageDraw.ImageDraw, text: str, box: Box, colour: str, taken: Sequence[Box]) -> Box:
    pad, size = 3, draw.im.size
    text = _fitting(draw, text, size[0] - 2 * pad)
    left, top, right, bottom = draw.textbbox((0, 0), text)
    width, height = right - left + 2 * pad, bottom - top + 2 * pad
    x = min(max(box[0], 0), max(0, size[0] - width))
    # Above, below, inside at the top, inside at the bottom; the first that is in the picture and free.
    choices = [box[1] - height, box[3] + 1, box[1], box[3] - height]
    inside = [y for y in choices if 0 <= y <= size[1] - height] or [0.0]
    beside = [other for other in taken if x < other[2] and other[0] < x + width]
    free = [y for y in inside if not any(y < other[3] and other[1] < y + height for other in beside)]
    y = (free or inside)[0]
    place = (x, y, x + width, y + height)
    draw.rectangle(place, fill=colour)
    draw.text((x + pad - left, y + pad - top), text, fill="white")
    return place


def _fitting(draw: ImageDraw.ImageDraw, text: str, width: int) -> str:
    text = " ".join(text[:LONGEST_TEXT].split())
    if draw.textlength(text) <= width:
        return text
    fits = bisect(range(len(text)), width, key=lambda kept: draw.textlength(f"{text[:kept]}..."))
    return f"{text[: max(0, fits - 1)]}..."


def draw_heat(picture: object, heat: NDArray[np.floating], *, least_side: int = 240) -> Image.Image:
    """A new RGB picture under a heat map [rows, columns], not negative; its maximum is the darkest red."""
    shown, _ = _enlarged(picture, least_side)
    scaled = Image.fromarray((heat * (255 / max(float(heat.max()), 1e-12))).round().astype(np.uint8))
    amount = scaled.resize(shown.size, Image.Resampling.BICUBIC)
    return Image.composite(
        ImageOps.colorize(amount, *_HEAT), shown, amount.point(lambda light: _MOST_COVER * light)
    )
