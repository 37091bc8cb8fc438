"""A part of a step: how much of everything a process has in it, at most, what its forward pass keeps, and the
operations of forward and backward pass. On a GPU every query has its padded text, several of which share a
copy of their picture's keys and values. On a CPU all tokens that look at a picture lie in a row."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

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
from xfm.models.attention_layout import STEP
from xfm.models.shared_kv import rows_of_texts
from xfm.objectives.losses import COUNT_STEP
from xfm.training.planning.layers import Cost, Layers, Part


@dataclass(frozen=True)
class SourceSizes:
    """One source of a batch of a process: texts of one length, tokens of each with padding, masked tokens of
    each, and pictures. Of both together: `everyone`, rows of all processes in the contrast; `boxed`, rows
    whose box is predicted; `slots`, most regions of a picture. `masks_patches`: MIM takes the pictures."""

    texts: int = 0
    length: int = 0
    masked: int = 0
    pictures: int = 0
    everyone: int = 0
    boxed: int = 0
    slots: int = 0
    masks_patches: bool = False


StepSizes = Mapping[str, SourceSizes]
"""A batch of one process, or a part of it, by source."""


def sizes_of(data: DataConfig, weights: LossConfig, world: int) -> StepSizes:
    """The largest share that a process has of a batch, with texts as long as they may be."""

    def share(stream: StreamConfig) -> int:
        groups = stream.batch_size // stream.group
        return -(-groups // world) * stream.group

    def texts(rows: int, config: TokenMaskConfig) -> SourceSizes:
        masked = min(config.max_masks, max(1, round(config.max_tokens * config.probability)))
        return SourceSizes(rows, config.max_tokens, masked)  # as `data.masking.masked_count`

    pairs, pictures, mim = share(data.pair), share(data.region), weights.mim > 0
    each = min(data.max_regions, data.mean_regions or data.max_regions)
    rows, everyone, masks = int(pictures * each), int(data.region.batch_size * each), data.patch_mask.on_pairs
    boxed = rows if weights.box_l1 or weights.box_giou else 0
    pair = texts(pairs, data.caption_mask)
    pair = replace(pair, pictures=pairs, everyone=data.pair.batch_size, masks_patches=masks and mim)
    region = replace(texts(rows, data.caption_mask), pictures=pictures, everyone=everyone, boxed=boxed)
    found = {
        "text": texts(share(data.text) if weights.mlm else 0, data.text_mask),
        "image": SourceSizes(pictures=share(data.image) if mim else 0, masks_patches=True),
        "pair": pair,
        "region": replace(region, slots=data.max_regions),
    }
    return {name: one for name, one in found.items() if one.texts or one.pictures}


def parts_of_step(sizes: StepSizes, training: TrainingConfig) -> list[StepSizes]:
    """Those of each part of a step that has a backward pass of its own."""
    if not (training.sequential_sources or training.three_updates):
        return [sizes]
    found = {name: {name: one} for name, one in sizes.items()}
    if training.three_updates and "region" in found:
        found["region"] |= found.pop("image", {})
    return list(found.values())


ModelPass = tuple[EncoderName, Mapping[str, Cost]]
"""A pass through an encoder or its heads: costs by purpose."""


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
HOLES = 1.4
"""Places of a CPU's rows to a token: rows are of few lengths, and negatives fall on any picture."""


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
        w, plain = self.weights, [one for one in sizes.values() if not one.pictures]
        captioned = [one for one in sizes.values() if one.texts and one.pictures]
        filled = captioned if w.imlm else []  # masked texts of pictures
        learns = EncoderName.LANGUAGE in self.gradients.imlm
        pictures, texts = self._vision(captioned), self._texts(captioned + (filled if learns else []) + plain)
        hidden = [one for one in sizes.values() if one.masks_patches]
        masked, alone = self._vision(hidden), self._vision([one for one in hidden if not one.texts])
        if self.pixels:
            out, states = 3 * self.vision.patch_size**2, self.vision.patches * _pictures(hidden)
            masked, alone = masked + Cost(states * out * 4.0, 2 * states * self.vision.width * out), Cost()
        others, contrast = self._small_heads(captioned)
        heads = {"masked words with pictures": self._token_head(filled), "other heads": others}
        asked = [one for one in captioned if sum(self._queries(one))]
        together = [[one] for one in asked] if self.fused.fused else [asked] if asked else []
        passes: list[ModelPass] = [
            (EncoderName.FUSION, heads | {"contrast": contrast}),
            (EncoderName.FUSION, {"fusion": sum(map(self._fusion, together), Cost())}),
            (EncoderName.VISION, {"vision, masked pictures": masked}),
            (EncoderName.LANGUAGE, {"masked words": self._token_head(plain)}),
            (EncoderName.LANGUAGE, {"language": texts}),
            (EncoderName.VISION, {"vision": pictures}),
        ]
        learned = sum((one for _, costs in passes for one in costs.values()), Cost())
        unlearned = alone.flops + self._texts([] if learns else filled).flops  # targets and texts
        encoded = pictures.flops + texts.flops if captioned else 0.0
        side = self.vision.image_size
        batch = 4.0 * 3 * side * (self.vision.image_width or side) * _pictures(sizes.values())
        batch += sum(one.texts * (17 * one.length + 16 * one.masked) for one in sizes.values())
        batch += sum(one.texts * self.vision.patches for one in captioned if one.slots)
        flops = 3 * learned.flops + learned.again + unlearned
        return StepCost(passes, flops, encoded, batch, contrast.kept, self._remembered(sizes))

    def _vision(self, sources: Iterable[SourceSizes]) -> Cost:
        v, pictures, slots = self.vision, _pictures(sources), self.vision.patches + 1
        if not pictures:
            return Cost()
        # patches, the last norm's input, and the states, which the objectives keep
        ends = self._patches(pictures * v.patches)
        ends += self.blocks.layer_norm(pictures * slots, 2 * v.width)
        return self.blocks.vision_block(pictures, slots).times(v.depth) + ends

    def _patches(self, patches: float) -> Cost:
        """The projection of patches, or the stem in front of them: of each layer but the first the norm, the
        input of GELU, and windows of nine cells."""
        stem, blocks = self.vision.stem, self.blocks
        given, cells = 3 * (self.vision.patch_size >> len(stem)) ** 2, patches * 4 ** len(stem)
        cost = Cost()
        for width in stem:
            cost += blocks.linear(cells, given, width) + blocks.layer_norm(cells, width)
            cost += blocks.numbers(cells * width)
            given, cells = 9 * width, cells / 4
        return cost + blocks.linear(cells, given, self.vision.width)

    def _texts(self, sources: Sequence[SourceSizes]) -> Cost:
        t, parts = self.texts, [(one.texts, one.length, one.length) for one in sources]
        tokens = sum(rows * length for rows, length, _ in parts)
        layers = t.layer(t.attention(parts), t.feed_forward(tokens)).times(self.language.depth)
        # embedded, the positions, and the states
        return layers + t.residual(tokens) + Cost(tokens * (16 + t.norm * t.width))

    def _token_head(self, sources: Sequence[SourceSizes]) -> Cost:
        """The head of masked tokens, with its loss: the logarithms of all probabilities stay, in float32;
        before and after log-softmax they have gradients."""
        t, d, vocabulary, found = self.texts, self.language.width, self.language.vocab_size, Cost()
        for one in sources:
            tokens = round_up(one.texts * one.masked, COUNT_STEP)
            found += t.linear(tokens, d, d) + t.numbers(tokens * d) + t.layer_norm(tokens, d)
            found += t.linear(tokens, d, vocabulary)
            found += Cost(4.0 * tokens * vocabulary, inside=8.0 * tokens * vocabulary)
        return found

    def _small_heads(self, captioned: Sequence[SourceSizes]) -> tuple[Cost, Cost]:
        """Projections, and heads of pairs and boxes; and the contrast."""
        t, d, e = self.texts, self.language.width, self.model.projection
        others = contrast = Cost()
        for one in captioned:
            own, alone = one.texts, one.texts == one.everyone
            others += t.linear(own, d, e) + t.linear(own, self.vision.width, e) + Cost(own * 8 * e * 2)
            for rows, out in ((3 * own * (self.weights.itm > 0), 2), (one.boxed, 4)):
                others += t.linear(rows, d, 2 * d) + t.linear(rows, 2 * d, out)
                others += t.layer_norm(rows, 4 * d)  # with its result, the input of GELU
            kept = own * one.everyone * (CONTRAST if alone else CONTRAST_APART)
            contrast += Cost(kept, 2 * own * e * one.everyone * (1 if alone else 2))
        return others, contrast

    def _queries(self, one: SourceSizes) -> tuple[int, int]:
        """Texts, each as often as it is asked about: those of which one token is read, and the masked."""
        return 3 * one.texts * (self.weights.itm > 0) + one.boxed, one.texts * (self.weights.imlm > 0)

    def _fusion(self, sources: Sequence[SourceSizes]) -> Cost:
        """A pass of the fusion encoder. On a GPU every query has its whole text in every layer. On a CPU the
        first layer's attention is once a text, and the last layer computes what is read."""
        t, w, depth = self.fused, self.weights, self.fusion.depth
        asked = [(one, *self._queries(one), 1 + one.slots + self.vision.patches) for one in sources]
        texts, ends, whole, read, own = (list[Part]() for _ in range(5))
        for one, single, filled, keys in asked:
            queries, length = single + filled, one.length
            texts.append((queries, length, length))
            ends += [(single, 1, length), (filled, one.masked, length)]
            own.append((one.texts * (bool(w.itm or one.boxed) + (w.imlm > 0)), length, length))
            each, rows = rows_of_texts(queries, length, one.pictures, keys)
            own_rows, places = round_up(one.pictures, STEP), HOLES / one.pictures
            ragged = own_rows, places * queries * length, keys
            whole.append((rows, each * length, keys) if t.fused else ragged)
            read.append((own_rows, places * (single + filled * one.masked), keys))
        tokens, out = (sum(rows * count for rows, count, _ in parts) for parts in (texts, ends))
        memory = sum(one.pictures * keys for one, *_, keys in asked), self.vision.width  # slots and patches
        look = t.cross(tokens, whole, *memory), t.feed_forward(tokens)
        layer, made = t.layer(t.attention(texts), *look), Cost(t.norm * prod(memory))
        if t.fused:  # and what each text of a region sees of its picture
            seen = sum(prod(row) for row, one in zip(whole, sources, strict=True) if one.slots)
            return layer.times(depth) + made + t.numbers(seen)
        apart = t.mode is ActivationCheckpointing.SELECTIVE  # the first attention is called by itself
        first = replace(t, mode=ActivationCheckpointing.NONE) if apart else t
        made += first.layer(t.attention(own)) + t.layer(*look)
        if depth == 1:
            return made
        last = t.attention(texts, ends), t.cross(out, read, *memory), t.feed_forward(out)
        return made + layer.times(depth - 2) + t.layer(*last)

    def _remembered(self, sizes: StepSizes) -> float:
        pairs = sizes.get("pair")
        if pairs is None or not self.weights.itm:
            return 0.0
        states = (1 + self.vision.patches) * self.vision.width + pairs.length * self.language.width
        vectors, identities = 2 * self.model.projection * 4, 2 * 8
        kept = self.texts.norm * states + pairs.length + vectors + identities + 1.0
        return self.negatives.queue_size * kept


def _pictures(sources: Iterable[SourceSizes]) -> int:
    return sum(one.pictures for one in sources)
