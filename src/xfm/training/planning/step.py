"""A part of a step: what its forward pass keeps, and the operations of forward and backward pass."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

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
from xfm.models.shared_kv import rows_of_texts
from xfm.objectives.losses import COUNT_STEP
from xfm.training.planning.layers import (
    STATISTICS,
    LayerCost,
    NumberBytes,
    TextLayers,
    linear,
    residual,
    small_head,
    token_head,
    total,
    vision_block,
)
from xfm.training.planning.sizes import AttendingTexts, StepSizes, TextSizes, packed, text_parts


@dataclass(frozen=True)
class ModelPass:
    """A pass through an encoder or its heads: bytes kept by purpose, and `inside` bytes that come and go in
    the backward pass."""

    encoder: EncoderName
    kept: Mapping[str, float]
    inside: float


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

    @property
    def kept(self) -> float:
        """Bytes that the forward pass keeps."""
        return sum(size for one in self.passes for size in one.kept.values())


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
        vision, language = model.vision, model.language
        if not (isinstance(vision, VisionConfig) and isinstance(language, LanguageConfig)):
            raise UserError(
                "the memory of encoders of other libraries (timm, transformers) is not known: plan with a "
                "recipe whose model.vision and model.language are xfm's own, of the same sizes"
            )
        self.vision, self.language, self.fusion, self.model = vision, language, model.fusion, model
        self.weights, self.negatives, self.gradients = weights, negatives, gradients
        self.pixels = training.mim_target is MimTarget.PIXELS
        work = 4 if training.precision is Precision.FP32 else 2  # `auto` is bfloat16
        self.a = NumberBytes(work, 4 if fused else work, fused)
        self.mode = training.activation_checkpointing
        width, again = language.width, training.activation_checkpointing
        self.texts = TextLayers(self.a, width, language.heads, language.mlp_width, language.dropout, again)
        self.fused = TextLayers(
            self.a, width, self.fusion.heads, self.fusion.mlp_width, self.fusion.dropout, again
        )

    def cost(self, sizes: StepSizes) -> StepCost:
        """What a batch of these sizes takes."""
        pictures = self._vision(sum(one.pictures for one in sizes.captioned.values()))
        masked = self._masked_pictures(sizes)
        clear = [one.texts for one in sizes.captioned.values()]
        learns = EncoderName.LANGUAGE in self.gradients.imlm  # masked texts of pictures
        masked_texts, learned_texts = clear if self.weights.imlm else [], [*clear]
        learned_texts += (masked_texts if learns else []) + ([sizes.plain] if sizes.plain else [])
        texts, fusion = self._texts(learned_texts), self._fusion(sizes)
        plain = [_counted(sizes.plain)] if sizes.plain else []
        filled = [_counted(one.texts) for one in sizes.captioned.values()] if self.weights.imlm else []
        width, words = self.language.width, self.language.vocab_size
        heads = [
            total(token_head(self.a, count, width, width, words) for count in counts)
            for counts in (filled, plain)
        ]
        others, contrast = self._other_heads(sizes), self._contrast(sizes)
        read = {"masked words with pictures": heads[0], "other heads": others, "contrast": contrast}
        passes = [
            self._pass(EncoderName.FUSION, read, filled),
            self._pass(EncoderName.FUSION, {"fusion": fusion}),
            self._pass(EncoderName.VISION, {"vision, masked pictures": masked}),
            self._pass(EncoderName.LANGUAGE, {"masked words": heads[1]}, plain),
            self._pass(EncoderName.LANGUAGE, {"language": texts}),
            self._pass(EncoderName.VISION, {"vision": pictures}),
        ]
        learned = total([pictures, masked, texts, fusion, *heads, others, contrast])
        targets = sizes.images if self.weights.mim and not self.pixels else 0
        unlearned = self._vision(targets).flops + self._texts([] if learns else masked_texts).flops
        flops = 3 * learned.flops + learned.again + unlearned
        encoded = pictures.flops + texts.flops if sizes.captioned else 0.0
        return StepCost(passes, flops, encoded, self._batch(sizes), contrast.kept, self._remembered(sizes))

    def _pass(
        self, encoder: EncoderName, demands: Mapping[str, LayerCost], words: Sequence[int] = ()
    ) -> ModelPass:
        logits = 8.0 * max(words, default=0) * self.language.vocab_size  # of log-softmax: before and after it
        inside = max(logits, *(one.inside for one in demands.values()))
        return ModelPass(encoder, {name: one.kept for name, one in demands.items()}, inside)

    def _vision(self, pictures: int) -> LayerCost:
        if not pictures:
            return LayerCost()
        v, a = self.vision, self.a
        slots, hidden, patch = v.patches + 1, int(v.width * v.mlp_ratio), 3 * v.patch_size**2
        block = vision_block(a, pictures, slots, v.width, v.heads, hidden, self.mode)
        cut = pictures * v.patches * patch
        # the last norm's input, and the states, which the objectives keep
        ends = pictures * slots * (v.width * 2 * a.norm + STATISTICS)
        flops = linear(pictures * v.patches, patch, v.width)
        return block.times(v.depth) + LayerCost(a.work * cut + ends, flops)

    def _masked_pictures(self, sizes: StepSizes) -> LayerCost:
        of_pairs = sum(one.pictures for one in sizes.captioned.values() if one.masks_patches)
        masked = sizes.images + of_pairs if self.weights.mim else 0
        found = self._vision(masked)
        if self.pixels and masked:
            out = 3 * self.vision.patch_size**2
            states = masked * self.vision.patches
            found += LayerCost(states * out * 4.0, linear(states, self.vision.width, out))
        return found

    def _texts(self, texts: list[TextSizes]) -> LayerCost:
        if not texts:
            return LayerCost()
        a, layers, d = self.a, self.texts, self.language.width
        tokens, parts = text_parts(texts, a.fused)
        places = sum(one.rows * one.length for one in texts)
        begin = residual(a, places, d, layers.dropout) + 16 * places  # embedded, and the positions
        layer = layers.layer(tokens, layers.attention(tokens, parts), layers.feed_forward(tokens))
        return layer.times(self.language.depth) + LayerCost(begin + a.norm * places * d)

    def _looking(self, sizes: StepSizes) -> list[AttendingTexts]:
        w = self.weights
        found = []
        for name, one in sizes.captioned.items():
            slots = 1 + one.texts.rows // one.pictures if name == "region" else 1
            boxes = bool(one.boxed and (w.box_l1 or w.box_giou))
            asked = AttendingTexts(one, slots + self.vision.patches, w.itm > 0, w.imlm > 0, boxes)
            if asked.queries:
                found.append(asked)
        return found

    def _fusion(self, sizes: StepSizes) -> LayerCost:
        looking = self._looking(sizes)
        if not looking:
            return LayerCost()
        memories = [(float(one.source.pictures), float(one.keys)) for one in looking]
        made = sum(rows * keys for rows, keys in memories) * self.vision.width
        layers = self._padded(looking, memories) if self.a.fused else self._packed(looking, memories)
        return layers + LayerCost(self.a.norm * made)

    def _padded(self, looking: list[AttendingTexts], memories: list[tuple[float, float]]) -> LayerCost:
        """On a GPU every query has its whole text in every layer, and shares a row with others."""
        found, t = LayerCost(), self.fused
        for one, memory in zip(looking, memories, strict=True):
            length, pictures = one.source.texts.length, one.source.pictures
            tokens = one.queries * length
            each, rows = rows_of_texts(one.queries, length, pictures, one.keys)
            row = rows, each * length, one.keys
            own = t.attention(tokens, [(one.queries, length, length)])
            looked = t.cross(tokens, [row], [memory], self.vision.width)
            found += t.layer(tokens, own, looked, t.feed_forward(tokens)).times(self.fusion.depth)
            if one.keys > 1 + self.vision.patches:  # regions: what each text sees of its picture
                found += LayerCost(self.a.work * math.prod(row))
        return found

    def _packed(self, looking: list[AttendingTexts], memories: list[tuple[float, float]]) -> LayerCost:
        """On a CPU the first layer's attention is once a text, and the last layer's only for what is read."""
        t, source, depth = self.fused, self.vision.width, self.fusion.depth
        asked = [TextSizes(one.queries, one.source.texts.length, 0) for one in looking]
        banks = [
            one.source.texts for one in looking for there in (one.matching or one.boxes, one.filling) if there
        ]
        tokens, parts = text_parts(asked, fused=False)
        at_pictures = AttendingTexts.parts(looking, whole=True)
        apart = (
            replace(t, mode=ActivationCheckpointing.NONE)
            if t.mode is ActivationCheckpointing.SELECTIVE
            else t
        )
        first = apart.attention(*text_parts(banks, fused=False))
        look = (t.cross(tokens, at_pictures, memories, source), t.feed_forward(tokens))
        first += t.layer(tokens, *look)
        middle = t.layer(tokens, t.attention(tokens, parts), *look)
        if depth == 1:
            return first
        read = packed(sum(one.read for one in looking))
        filled = sum(one.source.texts.rows for one in looking if one.filling)
        masked = max((one.source.texts.masked for one in looking if one.filling), default=0)
        length = parts[0][1]
        singles = sum(one.queries for one in looking) - filled
        last_parts = [
            (round_up(rows, 8), count, length) for rows, count in ((singles, 1), (filled, masked)) if rows
        ]
        looked = t.cross(read, AttendingTexts.parts(looking, whole=False), memories, source)
        last = t.layer(tokens, t.attention(tokens, last_parts, read), looked, t.feed_forward(read))
        return first + middle.times(depth - 2) + last

    def _remembered(self, sizes: StepSizes) -> float:
        pairs = sizes.captioned.get("pair")
        if pairs is None or not self.weights.itm:
            return 0.0
        words, patches = pairs.texts.length, self.vision.patches
        states = (1 + patches) * self.vision.width + words * self.language.width
        vectors, identities = 2 * self.model.projection * 4, 2 * 8
        return self.negatives.queue_size * (self.a.norm * states + words + vectors + identities + 1.0)

    def _other_heads(self, sizes: StepSizes) -> LayerCost:
        found, d, e = LayerCost(), self.language.width, self.model.projection
        for one in sizes.captioned.values():
            rows = one.texts.rows
            kept = rows * (8 * e * 2 + self.a.work * (d + self.vision.width))
            found += LayerCost(kept, linear(rows, d, e) + linear(rows, self.vision.width, e))
        for one in self._looking(sizes):
            if one.matching:
                found += small_head(self.a, 3 * one.source.texts.rows, d, 2)
            if one.boxes:
                found += small_head(self.a, one.source.boxed, d, 4)
        return found

    def _contrast(self, sizes: StepSizes) -> LayerCost:
        found = LayerCost()
        for one in sizes.captioned.values():
            own, everyone = one.texts.rows, one.everyone
            alone = own == everyone
            kept = own * everyone * (CONTRAST if alone else CONTRAST_APART)
            flops = linear(own, self.model.projection, everyone) * (1 if alone else 2)
            found += LayerCost(kept, flops)
        return found

    def _batch(self, sizes: StepSizes) -> float:
        pixels = 3 * self.vision.image_size * (self.vision.image_width or self.vision.image_size)
        texts = [one.texts for one in sizes.captioned.values()] + ([sizes.plain] if sizes.plain else [])
        words = sum(one.rows * (17 * one.length + 16 * one.masked) for one in texts)
        seen = sum(one.texts.rows for name, one in sizes.captioned.items() if name == "region")
        return 4.0 * pixels * sizes.pictures + words + seen * self.vision.patches


def _counted(texts: TextSizes) -> int:
    return round_up(texts.rows * texts.masked, COUNT_STEP)
