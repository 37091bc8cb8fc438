"""The next batches of a recipe as a page: pictures as the model sees them, with boxes, masks and texts."""

import base64
import html
import io
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image
from torch import Tensor

from xfm.config.data import STREAMS
from xfm.config.recipe import Recipe
from xfm.core.errors import UserError
from xfm.core.files import write_text, writing
from xfm.data.schema import Batch, ImageBatch, MaskedTokens, PairBatch, RegionBatch, TextBatch, Tokens
from xfm.data.tokenizer import Tokenizer
from xfm.training.curriculum import open_phase

_COLOURS = ("#e6194b", "#1f77d0", "#1a9850", "#d95f02", "#7b3fb5", "#00838f", "#b8860b", "#ad1457")
_STYLE = """body { font: 15px/1.4 system-ui, sans-serif; margin: 2rem; color: #222 }
.grid { display: flex; flex-wrap: wrap; gap: 1rem } figure { margin: 0; width: 224px }
svg { width: 224px; height: 224px; display: block; background: #eee } image { image-rendering: pixelated }
figcaption, p { margin: .2rem 0; overflow-wrap: anywhere } mark { background: #ffd54d }
small { color: #666 } .b { border-left: 4px solid; padding-left: .3rem }"""


def inspect_data(
    recipe: Recipe, page: Path, step: int = 0, count: int = 1, phase: int | None = None, samples: int = 24
) -> tuple[range, int, tuple[int, int]]:
    """Draw the batches of a recipe from an optimiser step on, about `samples` of the largest stream of each.
    The phase is that of the step, the last where the clock decides. Gives numbers of the batches and the
    phase, from 0, and how many samples are shown and there are. UserError: data, step, phase or place of the
    page."""
    phases, training = recipe.phases(), recipe.training
    if phase is None:
        passed = sum(step >= round(end * training.steps) for end in recipe.ends())
        phase = len(phases) - 1 if training.minutes else passed
    if not 0 <= phase < len(phases):
        raise UserError(f"there is no phase {phase + 1}: the recipe has {len(phases)}, counted from 1")
    groups = [(stream.batch_size, stream.group) for stream in phases[phase].data.streams.values()]
    most = math.ceil(max([1, *(count for count, _ in groups)]) / samples)
    # A part of a batch is what one of so many processes would take.
    data = open_phase(recipe, phase, world=min([most, *(n // group for n, group in groups if n)]))
    batches = range(
        step * training.gradient_accumulation_steps, (step + count) * training.gradient_accumulation_steps
    )
    shown = [data.batch(number) for number in batches]
    whole = sum(map(data.size, batches))
    seen = sum(len(batch.origins) for batch in shown)
    title = html.escape(f"{recipe.name}, from step {step} on, phase {phase + 1} of {len(phases)}")
    parts = [
        "<!doctype html>",
        f"<meta charset='utf-8'>\n<title>{title}</title>\n<style>{_STYLE}</style>",
        f"<h1>{title}</h1>\n<p>{seen:,} of {whole:,} samples, as the model sees them.",
        "Grey patches are masked, and so are <mark>words</mark>.</p>",
    ]
    with writing(page, "or choose another file"):
        for batch in shown:
            sections = _sections(batch, data.tokenizer, recipe.model.vision.patch_size)
            parts += [f"<h2>Batch {batch.step}</h2>", *sections]
        page.parent.mkdir(parents=True, exist_ok=True)
        write_text(page, "\n".join(parts) + "\n")
    return batches, phase, (seen, whole)


def _sections(batch: Batch, tokenizer: Tokenizer, patch: int) -> Iterator[str]:
    origins = [html.escape(str(origin)) for origin in batch.origins]
    for name in STREAMS:
        part: TextBatch | ImageBatch | PairBatch | RegionBatch | None = getattr(batch, name)
        if part is None:
            continue
        words = [] if isinstance(part, ImageBatch) else _texts(part.tokens, part.masked, tokenizer)
        if isinstance(part, TextBatch):
            shown = [f"<p>{one}</p>" for one in words]
        elif isinstance(part, RegionBatch):
            shown = [_regions(part, number, words) for number in range(len(part.pixels))]
        else:
            masks = [None] * len(part.pixels) if part.patch_mask is None else part.patch_mask
            drawn = zip(part.pixels, masks, strict=True)
            shown = [_picture(pixels, _patches(mask, patch)) for pixels, mask in drawn]
            said = [f"<figcaption>{one}</figcaption>" for one in words] or [""] * len(shown)
            shown = list(map(str.__add__, shown, said))
        here, origins = origins[: len(shown)], origins[len(shown) :]
        figures = [
            f"<figure>{one}<small>{origin}</small></figure>" for one, origin in zip(shown, here, strict=True)
        ]
        yield f"<h3>{name}</h3>\n<div class='grid'>\n" + "\n".join(figures) + "\n</div>"


def _picture(pixels: Tensor, over: Sequence[str]) -> str:
    """SVG of pixels [3, H, W] uint8 with shapes over them."""
    height, width = pixels.shape[1:]
    file = io.BytesIO()
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(file, "PNG")
    data = base64.b64encode(file.getvalue()).decode()
    link = f"<image href='data:image/png;base64,{data}' width='{width}' height='{height}'/>"
    return f"<svg viewBox='0 0 {width} {height}'>{link}{''.join(over)}</svg>"


def _patches(mask: Tensor | None, patch: int) -> list[str]:
    """A square over each patch masked in `mask` [P] bool, of a square picture."""
    if mask is None:
        return []
    places = [divmod(place, math.isqrt(len(mask))) for place in np.flatnonzero(mask.numpy()).tolist()]
    return [
        f"<rect x='{column * patch}' y='{row * patch}' width='{patch}' height='{patch}' fill='#888' "
        "fill-opacity='.8'/>"
        for row, column in places
    ]


def _regions(part: RegionBatch, number: int, words: Sequence[str]) -> str:
    """A picture with its boxes, and their phrases in the same colours."""
    pixels = part.pixels[number]
    height, width = pixels.shape[1:]
    boxes, phrases = list[str](), list[str]()
    for place, row in enumerate(np.flatnonzero(part.image_index.numpy() == number).tolist()):
        colour = _COLOURS[place % len(_COLOURS)]
        phrases.append(f"<p class='b' style='border-color: {colour}'>{words[row]}</p>")
        if not part.is_image[row]:
            x, y, w, h = (part.boxes[row].numpy() * (width, height, width, height)).tolist()
            boxes.append(
                f"<rect x='{x - w / 2:.1f}' y='{y - h / 2:.1f}' width='{w:.1f}' height='{h:.1f}' "
                f"fill='none' stroke='{colour}' stroke-width='{max(height, width) / 100:.1f}'/>"
            )
    return _picture(pixels, boxes) + "".join(phrases)


def _texts(tokens: Tokens, masked: MaskedTokens, tokenizer: Tokenizer) -> list[str]:
    found = []
    for ids, mask, positions, labels in zip(
        tokens.ids, tokens.mask, masked.positions, masked.labels, strict=True
    ):
        length = int(mask.sum())
        hidden = set(positions[labels != -100].tolist())
        words, start = list[str](), 1  # the first and the last token begin and end the text
        for end in range(2, length):
            if end == length - 1 or ((end in hidden) != (start in hidden)):
                text = html.escape(tokenizer.decode(ids[start:end]))
                words.append(f"<mark>{text}</mark>" if start in hidden else text)
                start = end
        found.append(" ".join(words))
    return found
