"""How much of everything a process has in its part of a step, at most, and how texts lie in it.

On a GPU every query has its padded text, several of which share a copy of their picture's keys and values. On
a CPU texts are packed, and all tokens that look at a picture lie in a row: how many do follows the draw of
negatives, of which the expected numbers are taken here.
"""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xfm.config.data import DataConfig, StreamConfig, TokenMaskConfig
from xfm.config.training import LossConfig
from xfm.data.collate import round_up
from xfm.models.attention_layout import LENGTHS, STEP, TOKENS_STEP
from xfm.training.planning.layers import Part


@dataclass(frozen=True)
class TextSizes:
    """Texts of one length: their number, tokens of each with padding, masked tokens of each."""

    rows: int
    length: int
    masked: int


@dataclass(frozen=True)
class CaptionedSizes:
    """Pictures with texts. `everyone`: rows of all processes in the contrast; `boxed`: rows with a box;
    `masks_patches`: MIM takes the pictures."""

    pictures: int
    texts: TextSizes
    everyone: int
    boxed: int = 0
    masks_patches: bool = False


@dataclass(frozen=True)
class StepSizes:
    """A batch of one process: plain texts, pictures alone, and `pair` and `region` by name."""

    plain: TextSizes | None = None
    images: int = 0
    captioned: Mapping[str, CaptionedSizes] = field(default_factory=dict)

    @property
    def pictures(self) -> int:
        """All pictures of the batch."""
        return self.images + sum(one.pictures for one in self.captioned.values())

    @property
    def by_source(self) -> list["StepSizes"]:
        """Those of each source alone, in the order in which a step takes them."""
        found = [StepSizes(plain=self.plain)] if self.plain else []
        found += [StepSizes(images=self.images)] if self.images else []
        return found + [StepSizes(captioned={name: one}) for name, one in self.captioned.items()]


def sizes_of(data: DataConfig, weights: LossConfig, world: int) -> StepSizes:
    """The largest share that a process has of a batch, with texts as long as they may be."""

    def share(stream: StreamConfig) -> int:
        groups = stream.batch_size // stream.group
        return -(-groups // world) * stream.group

    def texts(rows: int, config: TokenMaskConfig) -> TextSizes:
        masked = min(config.max_masks, max(1, round(config.max_tokens * config.probability)))
        return TextSizes(rows, config.max_tokens, masked)  # as `data.masking.masked_count`

    captioned: dict[str, CaptionedSizes] = {}
    if pairs := share(data.pair):
        rows = texts(pairs, data.caption_mask)
        masks = data.patch_mask.on_pairs and weights.mim > 0
        captioned["pair"] = CaptionedSizes(pairs, rows, data.pair.batch_size, masks_patches=masks)
    if pictures := share(data.region):
        rows = texts(pictures * data.max_regions, data.caption_mask)
        boxed = rows.rows if weights.box_l1 or weights.box_giou else 0
        captioned["region"] = CaptionedSizes(pictures, rows, data.region.batch_size * data.max_regions, boxed)
    plain = texts(share(data.text), data.text_mask) if data.text.batch_size and weights.mlm else None
    return StepSizes(plain, share(data.image) if weights.mim else 0, captioned)


def smaller(data: DataConfig, parts: int, world: int) -> DataConfig | None:
    """The data with batches of a `parts`-th, or None where some process would be left without a sample."""
    changed = {}
    for name, stream in data.streams.items():
        size = stream.batch_size // parts // stream.group * stream.group
        changed[name] = replace(stream, batch_size=size)
        if stream.batch_size and size < world * stream.group:
            return None
    return replace(data, **changed)


def packed(count: float) -> float:
    """Packed tokens with the spare ones."""
    return round_up(max(1, math.ceil(count)), TOKENS_STEP)


def laid(lengths: Mapping[float, float], longest: float) -> list[tuple[float, float]]:
    """Rows and length of the parts into which rows are sorted; `lengths` counts rows by length."""
    last, parts = round_up(math.ceil(longest), STEP), Counter[int]()
    for length, rows in lengths.items():
        parts[min([one for one in LENGTHS if one >= length] + [last])] += rows  # pyright: ignore
    return [(round_up(math.ceil(rows), STEP), min(length, last)) for length, rows in parts.items()]


def text_parts(texts: Iterable[TextSizes], fused: bool) -> tuple[float, list[Part]]:
    """Tokens, and the parts in which they attend to one another."""
    texts = [one for one in texts if one.rows]
    tokens = sum(one.rows * one.length for one in texts)
    if fused:
        return tokens, [(one.rows, one.length, one.length) for one in texts]
    lengths = Counter[float]()
    for one in texts:
        lengths[one.length] += one.rows
    parts = laid(lengths, max(lengths, default=1))
    return packed(tokens), [(rows, length, length) for rows, length in parts]


@dataclass(frozen=True)
class AttendingTexts:
    """Texts that look at the pictures of a source with `keys` slots and patches, and which objectives ask."""

    source: CaptionedSizes
    keys: int
    matching: bool
    filling: bool
    boxes: bool

    @property
    def queries(self) -> int:
        """Texts, each as often as it is asked about."""
        boxed = self.source.boxed if self.boxes else 0
        return self.source.texts.rows * (3 * self.matching + self.filling) + boxed

    @property
    def read(self) -> int:
        """Tokens whose states are wanted at the end."""
        texts, boxed = self.source.texts, self.source.boxed if self.boxes else 0
        return texts.rows * (3 * self.matching + texts.masked * self.filling) + boxed

    def _tokens(self, whole: bool) -> dict[float, float]:
        texts, each = self.source.texts, self.source.texts.rows / self.source.pictures
        token, filled = (texts.length, texts.length) if whole else (1, texts.masked)
        boxed = self.source.boxed / self.source.pictures if self.boxes else 0
        own = each * (2 * token * self.matching + filled * self.filling) + token * boxed
        if not self.matching:
            return {own: self.source.pictures}
        found, pictures = {}, self.source.pictures  # a negative falls on any picture: Poisson, mean `each`
        for drawn in range(int(each + 8 * math.sqrt(each) + 8)):
            expected = pictures * math.exp(-each + drawn * math.log(each) - math.lgamma(drawn + 1))
            if expected > 0.5 or drawn <= each:
                found[own + token * drawn] = expected
        return found

    @staticmethod
    def parts(sources: Sequence["AttendingTexts"], whole: bool) -> list[Part]:
        """The parts in which tokens look at pictures on a CPU: as many rows as pictures, about."""
        tokens = [one._tokens(whole) for one in sources]
        longest = max(max(found) for found in tokens)
        return [
            (rows, length, one.keys)
            for one, found in zip(sources, tokens, strict=True)
            for rows, length in laid(found, longest)
        ]
