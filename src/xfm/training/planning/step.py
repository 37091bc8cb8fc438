"""A part of a step: how much of everything a process has in it, at most, what its forward pass keeps, and the
operations of forward and backward pass. On a GPU every query has its padded text, several of which share a
copy of their picture's keys and values. On a CPU texts are packed, and all tokens that look at a picture lie
in a row: how many do follows the draw of negatives, of which the expected numbers are taken here."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from xfm.config.data import DataConfig, StreamConfig, TokenMaskConfig
from xfm.config.encoders import LanguageConfig, VisionConfig
from xfm.config.model import EncoderName, GradientConfig, MimTarget, ModelConfig
from xfm.config.training import (
    ActivationCheckpointing,
    LossConfig,
    NegativesConfig,
    Precision,
    TrainingConfig,
)
from xfm.core.errors import UserError
from xfm.data.collate import round_up
from xfm.models.attention_layout import LENGTHS, STEP, TOKENS_STEP
from xfm.models.shared_kv import rows_of_texts
from xfm.objectives.losses import COUNT_STEP
from xfm.training.planning.layers import STATISTICS, LayerCost, Layers, Part, linear


@dataclass(frozen=True)
class TextSizes:
    """Texts of one length: their number, tokens of each with padding, masked tokens of each."""

    rows: int
    length: int
    masked: int


@dataclass(frozen=True)
class CaptionedSizes:
    """Pictures with texts. `everyone`: rows of all processes in the contrast; `boxed`: rows whose box is
    predicted; `slots`: most regions of a picture; `masks_patches`: MIM takes the pictures."""

    pictures: int
    texts: TextSizes
    everyone: int
    boxed: int = 0
    slots: int = 0
    masks_patches: bool = False


@dataclass(frozen=True)
class StepSizes:
    """A batch of one process: plain texts, pictures alone, and `pair` and `region` by name."""

    plain: TextSizes | None = None
    images: int = 0
    captioned: Mapping[str, CaptionedSizes] = field(default_factory=dict)

    def parts(self, training: TrainingConfig) -> list["StepSizes"]:
        """Those of each part of a step that has a backward pass of its own."""
        if not (training.sequential_sources or training.three_updates):
            return [self]
        found = {name: StepSizes(captioned={name: one}) for name, one in self.captioned.items()}
        found = {"text": StepSizes(self.plain), "image": StepSizes(images=self.images), **found}
        if training.three_updates and "region" in found:
            found["region"] = replace(found["region"], images=found.pop("image").images)
        return [one for one in found.values() if one != StepSizes()]


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
        slots, each = data.max_regions, min(data.max_regions, data.mean_regions or data.max_regions)
        rows = texts(int(pictures * each), data.caption_mask)
        boxed = rows.rows if weights.box_l1 or weights.box_giou else 0
        everyone = int(data.region.batch_size * each)
        captioned["region"] = CaptionedSizes(pictures, rows, everyone, boxed, slots)
    plain = texts(share(data.text), data.text_mask) if data.text.batch_size and weights.mlm else None
    return StepSizes(plain, share(data.image) if weights.mim else 0, captioned)


def _packed(count: float) -> float:
    return round_up(max(1, math.ceil(count)), TOKENS_STEP)


def _laid(lengths: Mapping[float, float], longest: float) -> list[tuple[float, float]]:
    """Rows and length of the parts into which rows are sorted; `lengths` counts rows by length."""
    last, parts = round_up(math.ceil(longest), STEP), Counter[int]()
    for length, rows in lengths.items():
        parts[min([one for one in LENGTHS if one >= length] + [last])] += rows  # pyright: ignore
    return [(round_up(math.ceil(rows), STEP), min(length, last)) for length, rows in parts.items()]


def _text_parts(texts: Iterable[TextSizes], fused: bool) -> tuple[float, list[Part]]:
    """Tokens, and the parts in which they attend to one another."""
    texts = [one for one in texts if one.rows]
    tokens = sum(one.rows * one.length for one in texts)
    if fused:
        return tokens, [(one.rows, one.length, one.length) for one in texts]
    lengths = Counter[float]()
    for one in texts:
        lengths[one.length] += one.rows
    parts = _laid(lengths, max(lengths, default=1))
    return _packed(tokens), [(rows, length, length) for rows, length in parts]


ModelPass = tuple[EncoderName, Mapping[str, float], float]
"""A pass through an encoder or its heads: bytes kept by purpose, and those that come and go in the backward
pass."""


@dataclass(frozen=True)
class StepCost:
    """Cost of a batch: passes in the order of the backward pass, operations, those of the additional encoding
    when a step has several parts, and bytes of batch, contrast and queue."""

    passes: Sequence[ModelPass]
    flops: float
    encoding: float
    batch: float
    contrast: float
    remembered: float = 0.0


CONTRAST = 14
"""Bytes a pair of rows: cosines, their masks, the logarithms of both directions."""
CONTRAST_APART = 18
"""The same where own rows are not all rows, so that both directions have cosines of their own."""


class StepModel:
    """Formulas of a step; UserError if an encoder is another library's."""

    def __init__(
        self,
        model: ModelConfig,
        training: TrainingConfig,
        weights: LossConfig,
        negatives: NegativesConfig,
        gradients: GradientConfig,
        fused: bool = True,
    ) -> None:
        vision, words, fusion = model.vision, model.language, model.fusion
        if not (isinstance(vision, VisionConfig) and isinstance(words, LanguageConfig)):
            raise UserError(
                "the memory of encoders of other libraries (timm, transformers) is not known: plan with a "
                "recipe whose model.vision and model.language are xfm's own, of the same sizes"
            )
        if training.mim_target is MimTarget.INITIAL:
            raise UserError("the memory of training.mim_target initial is not known: plan with states")
        self.vision, self.language, self.fusion, self.model = vision, words, fusion, model
        self.weights, self.negatives, self.gradients = weights, negatives, gradients
        self.pixels = training.mim_target is MimTarget.PIXELS
        work, mode = 4 if training.precision is Precision.FP32 else 2, training.activation_checkpointing
        a, hidden = (work, 4 if fused else work, fused), int(vision.width * vision.mlp_ratio)
        self.blocks = Layers(*a, vision.width, vision.heads, hidden, 0.0, mode)
        self.texts = Layers(*a, words.width, words.heads, words.mlp_width, words.dropout, mode)
        self.fused = Layers(*a, words.width, fusion.heads, fusion.mlp_width, fusion.dropout, mode)

    def cost(self, sizes: StepSizes) -> StepCost:
        """What a batch of these sizes takes."""
        w, captioned = self.weights, sizes.captioned.values()
        of_pairs = sum(one.pictures for one in captioned if one.masks_patches)
        hidden = sizes.images + of_pairs if w.mim else 0
        pictures, masked = self._vision(sum(one.pictures for one in captioned)), self._vision(hidden)
        if self.pixels:
            out, states = 3 * self.vision.patch_size**2, hidden * self.vision.patches
            masked += LayerCost(states * out * 4.0, linear(states, self.vision.width, out))
        clear, plain = [one.texts for one in captioned], [sizes.plain] if sizes.plain else []
        filled = clear if w.imlm else []  # masked texts of pictures
        learns = EncoderName.LANGUAGE in self.gradients.imlm
        texts = self._texts(clear + (filled if learns else []) + plain)
        fusion, filling, words = self._fusion(sizes), self._token_head(filled), self._token_head(plain)
        others, contrast = self._small_heads(sizes)
        read = {"masked words with pictures": filling, "other heads": others, "contrast": contrast}
        passes = [
            (encoder, {name: one.kept for name, one in costs.items()}, max(c.inside for c in costs.values()))
            for encoder, costs in (
                (EncoderName.FUSION, read),
                (EncoderName.FUSION, {"fusion": fusion}),
                (EncoderName.VISION, {"vision, masked pictures": masked}),
                (EncoderName.LANGUAGE, {"masked words": words}),
                (EncoderName.LANGUAGE, {"language": texts}),
                (EncoderName.VISION, {"vision": pictures}),
            )
        ]
        learned = sum((pictures, masked, texts, fusion, filling, words, others, contrast), LayerCost())
        targets = sizes.images if w.mim and not self.pixels else 0
        unlearned = self._vision(targets).flops + self._texts([] if learns else filled).flops
        flops = 3 * learned.flops + learned.again + unlearned
        encoded = pictures.flops + texts.flops if sizes.captioned else 0.0
        side, seen = self.vision.image_size, sum(one.pictures for one in captioned)
        batch = 4.0 * 3 * side * (self.vision.image_width or side) * (sizes.images + seen)
        batch += sum(one.rows * (17 * one.length + 16 * one.masked) for one in clear + plain)
        if regions := sizes.captioned.get("region"):
            batch += regions.texts.rows * self.vision.patches
        return StepCost(passes, flops, encoded, batch, contrast.kept, self._remembered(sizes))

    def _vision(self, pictures: int) -> LayerCost:
        if not pictures:
            return LayerCost()
        v, a = self.vision, self.texts
        slots, patch = v.patches + 1, 3 * v.patch_size**2
        # the last norm's input, and the states, which the objectives keep
        kept = a.work * pictures * v.patches * patch + pictures * slots * (v.width * 2 * a.norm + STATISTICS)
        ends = LayerCost(kept, linear(pictures * v.patches, patch, v.width))
        return self.blocks.vision_block(pictures, slots).times(v.depth) + ends

    def _texts(self, texts: list[TextSizes]) -> LayerCost:
        if not texts:
            return LayerCost()
        layers, given = self.texts, self.texts.norm * self.texts.width
        tokens, parts = _text_parts(texts, layers.fused)
        places = sum(one.rows * one.length for one in texts)
        kept = layers.residual(places) + 16 * places  # embedded, and the positions
        layer = layers.layer(given * tokens, layers.attention(tokens, parts), layers.feed_forward(tokens))
        return layer.times(self.language.depth) + LayerCost(kept + given * places)

    def _token_head(self, texts: list[TextSizes]) -> LayerCost:
        """The head of masked tokens, with its loss: the logarithms of all probabilities stay, in float32;
        before and after log-softmax they have gradients."""
        a, d, vocabulary, found = self.texts, self.language.width, self.language.vocab_size, LayerCost()
        for one in texts:
            tokens = round_up(one.rows * one.masked, COUNT_STEP)
            kept = tokens * (a.work * 3 * d + a.norm * d + STATISTICS + 4 * vocabulary)
            flops = linear(tokens, d, d) + linear(tokens, d, vocabulary)
            found += LayerCost(kept, flops, inside=8.0 * tokens * vocabulary)
        return found

    def _small_heads(self, sizes: StepSizes) -> tuple[LayerCost, LayerCost]:
        """Projections, and heads of pairs and boxes; and the contrast."""
        a, d, e = self.texts, self.language.width, self.model.projection
        others = contrast = LayerCost()
        for one in sizes.captioned.values():
            own, alone = one.texts.rows, one.texts.rows == one.everyone
            kept = own * (8 * e * 2 + a.work * (d + self.vision.width))
            others += LayerCost(kept, linear(own, d, e) + linear(own, self.vision.width, e))
            for rows, out in ((3 * own * (self.weights.itm > 0), 2), (one.boxed, 4)):
                kept = rows * (a.work * 3 * d + a.norm * 4 * d + STATISTICS)
                others += LayerCost(kept, linear(rows, d, 2 * d) + linear(rows, 2 * d, out))
            kept = own * one.everyone * (CONTRAST if alone else CONTRAST_APART)
            contrast += LayerCost(kept, linear(own, e, one.everyone) * (1 if alone else 2))
        return others, contrast

    def _queries(self, one: CaptionedSizes) -> int:
        """Texts, each as often as it is asked about."""
        return one.texts.rows * (3 * (self.weights.itm > 0) + (self.weights.imlm > 0)) + one.boxed

    def _fusion(self, sizes: StepSizes) -> LayerCost:
        looking = [
            (one, 1 + one.slots + self.vision.patches)
            for one in sizes.captioned.values()
            if self._queries(one)
        ]  # what is looked at of each picture: slots and patches
        if not looking:
            return LayerCost()
        made = sum(one.pictures * keys for one, keys in looking) * self.vision.width
        layers = self._padded(looking) if self.texts.fused else self._ragged(looking)
        return layers + LayerCost(self.texts.norm * made)

    def _padded(self, looking: Sequence[tuple[CaptionedSizes, int]]) -> LayerCost:
        """On a GPU every query has its whole text in every layer, and shares a row with others."""
        found, t = LayerCost(), self.fused
        for one, keys in looking:
            length, queries = one.texts.length, self._queries(one)
            tokens = queries * length
            each, rows = rows_of_texts(queries, length, one.pictures, keys)
            row = rows, each * length, keys
            own = t.attention(tokens, [(queries, length, length)])
            looked = t.cross(tokens, [row], one.pictures * keys, self.vision.width)
            layer = t.layer(self.texts.norm * t.width * tokens, own, looked, t.feed_forward(tokens))
            found += layer.times(self.fusion.depth)
            if keys > 1 + self.vision.patches:  # regions: what each text sees of its picture
                found += LayerCost(self.texts.work * math.prod(row))
        return found

    def _ragged(self, looking: Sequence[tuple[CaptionedSizes, int]]) -> LayerCost:
        """On a CPU the first layer's attention is once a text, and the last layer's only for what is read."""
        t, source, depth, w = self.fused, self.vision.width, self.fusion.depth, self.weights
        banks = [one.texts for one, _ in looking for there in (w.itm or one.boxed, w.imlm) if there]
        asked = [TextSizes(self._queries(one), one.texts.length, 0) for one, _ in looking]
        tokens, parts = _text_parts(asked, fused=False)
        memory, given = sum(one.pictures * keys for one, keys in looking), self.texts.norm * t.width * tokens
        none = ActivationCheckpointing.NONE
        apart = replace(t, mode=none) if t.mode is ActivationCheckpointing.SELECTIVE else t
        look = t.cross(tokens, self._rows(looking, True), memory, source), t.feed_forward(tokens)
        first = apart.attention(*_text_parts(banks, fused=False)) + t.layer(given, *look)
        if depth == 1:
            return first
        middle = t.layer(given, t.attention(tokens, parts), *look)
        texts = [one.texts for one, _ in looking]
        filled = sum(one.rows for one in texts) if w.imlm else 0
        masked, length = max(one.masked for one in texts), parts[0][1]
        singles = sum(one.rows for one in asked) - filled
        last_parts = [
            (round_up(rows, 8), count, length) for rows, count in ((singles, 1), (filled, masked)) if rows
        ]
        read = _packed(singles + sum(one.rows * one.masked for one in texts if w.imlm))
        looked = t.cross(read, self._rows(looking, False), memory, source)
        last = t.layer(given, t.attention(tokens, last_parts, read), looked, t.feed_forward(read))
        return first + middle.times(depth - 2) + last

    def _rows(self, looking: Sequence[tuple[CaptionedSizes, int]], whole: bool) -> list[Part]:
        """The parts in which tokens (`whole` texts, or those that are read) look at pictures on a CPU: as
        many rows as pictures, about."""
        matching, lengths = self.weights.itm > 0, list[dict[float, float]]()
        for one, _ in looking:
            pictures, each = one.pictures, one.texts.rows / one.pictures
            token, filled = (one.texts.length, one.texts.length) if whole else (1, one.texts.masked)
            own = each * (2 * token * matching + filled * (self.weights.imlm > 0))
            own += token * (one.boxed / pictures)
            found = {} if matching else {own: float(pictures)}
            for drawn in range(int(each + 8 * math.sqrt(each) + 8) if matching else 0):
                # a negative falls on any picture: Poisson, mean `each`
                expected = pictures * math.exp(-each + drawn * math.log(each) - math.lgamma(drawn + 1))
                if expected > 0.5 or drawn <= each:
                    found[own + token * drawn] = expected
            lengths.append(found)
        longest = max(max(found) for found in lengths)
        return [
            (rows, length, keys)
            for (_, keys), found in zip(looking, lengths, strict=True)
            for rows, length in _laid(found, longest)
        ]

    def _remembered(self, sizes: StepSizes) -> float:
        pairs = sizes.captioned.get("pair")
        if pairs is None or not self.weights.itm:
            return 0.0
        words, patches = pairs.texts.length, self.vision.patches
        states = (1 + patches) * self.vision.width + words * self.language.width
        vectors, identities = 2 * self.model.projection * 4, 2 * 8
        return self.negatives.queue_size * (self.texts.norm * states + words + vectors + identities + 1.0)
