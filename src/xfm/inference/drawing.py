"""Boxes with their labels, and heat maps, drawn on pictures."""

from bisect import bisect
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from xfm.core.errors import UserError
from xfm.inference.input_parsing import read_original

LEAST_SIDE = 480  # smaller pictures are enlarged, or no text would be readable beside their boxes
LONGEST_TEXT = 2000  # characters that are looked at: no picture is so wide that more would be readable
COLOURS = ("#e6194b", "#1f77d0", "#1a9850", "#d95f02", "#7b3fb5", "#00838f", "#b8860b", "#ad1457")
"""Of the boxes in turn; white text is readable on all of them."""

# From transparent over yellow and orange to dark red: also in grey, more is darker.
_HEAT = np.array([[255, 247, 188], [254, 217, 98], [251, 140, 40], [216, 48, 31], [128, 0, 38]], dtype=float)
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
    base = np.asarray(shown, dtype=float)
    top = float(heat.max()) if heat.size else 0.0
    scaled = Image.fromarray((heat / top if top > 0 else np.zeros_like(heat)).astype(np.float32))
    amount = np.clip(np.asarray(scaled.resize(shown.size, Image.Resampling.BICUBIC)), 0, 1)[..., None]
    levels = np.linspace(0, 1, len(_HEAT))
    colour = np.concatenate([np.interp(amount, levels, channel) for channel in _HEAT.T], axis=-1)
    cover = _MOST_COVER * amount
    return Image.fromarray(np.clip(base * (1 - cover) + colour * cover, 0, 255).round().astype(np.uint8))


def sheet(
    pictures: Sequence[Image.Image], titles: Sequence[str], *, columns: int = 4, title: str = ""
) -> Image.Image:
    """Pictures of one size in rows of `columns`, each with a title above."""
    width, height = pictures[0].size
    line, gap, columns = 22, 8, min(columns, len(pictures))
    rows, head = -(-len(pictures) // columns), (line + gap) if title else 0
    whole = Image.new(
        "RGB", (columns * (width + gap) + gap, head + rows * (height + line + gap) + gap), "white"
    )
    draw = ImageDraw.Draw(whole)
    draw.font = ImageFont.load_default(15)
    if title:
        draw.text((gap, gap), _fitting(draw, title, whole.width - 2 * gap), fill="black")
    for place, (picture, text) in enumerate(zip(pictures, titles, strict=True)):
        x = gap + place % columns * (width + gap)
        y = head + gap + place // columns * (height + line + gap)
        draw.text((x, y), _fitting(draw, text, width), fill="black")
        whole.paste(picture, (x, y + line))
    return whole
