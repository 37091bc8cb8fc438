"""What a layer keeps for its backward pass, and its operations, by formula from its sizes.

Kept is what autograd saves of each operation, every piece of memory once: the inputs of linear layers, of
LayerNorms and of GELU, what attention needs, what dropout remembers. Which tensors these are follows from
`xfm.models`, and a change there is a change here: tests compare both with what torch keeps in a real step.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from xfm.config.training import ActivationCheckpointing

STATISTICS = 8
"""Bytes that a LayerNorm keeps of a token: mean and deviation."""
NOISE = 1
"""Bytes that dropout remembers of a number: whether it was dropped."""

Part = tuple[float, float, float]
"""Rows of a part of attention, the queries of each and the keys of each."""


@dataclass(frozen=True)
class NumberBytes:
    """Bytes of the numbers of matrix products and of LayerNorms (float32 under a GPU's autocast). `fused` is
    a GPU's way: attention keeps no scores, texts are padded."""

    work: int
    norm: int
    fused: bool


@dataclass(frozen=True)
class LayerCost:
    """Bytes kept until the backward pass, operations (a multiply-add is two), those done again in it, bytes
    of gradients inside the largest layer, and bytes computed again."""

    kept: float = 0.0
    flops: float = 0.0
    again: float = 0.0
    inside: float = 0.0
    redone: float = 0.0

    def __add__(self, other: "LayerCost") -> "LayerCost":
        kept, flops, again = self.kept + other.kept, self.flops + other.flops, self.again + other.again
        return LayerCost(kept, flops, again, max(self.inside, other.inside))

    def times(self, count: int) -> "LayerCost":
        """So many of them."""
        return LayerCost(self.kept * count, self.flops * count, self.again * count, self.inside)


def total(demands: Iterable[LayerCost]) -> LayerCost:
    """All of them together."""
    return sum(demands, LayerCost())


Selective = tuple[float, float]
"""Bytes of products that `selective` keeps of a part, and operations computed again."""


def unit(
    kept: float,
    flops: float,
    given: float,
    passing: float,
    between: Selective,
    mode: ActivationCheckpointing,
) -> LayerCost:
    """Demand of a part that may keep less: bytes that its backward pass needs (`kept`), of its input
    (`given`), of the largest gradients at once (`passing`)."""
    if mode is ActivationCheckpointing.NONE:
        return LayerCost(kept, flops, inside=passing)
    if mode is ActivationCheckpointing.FULL:
        return LayerCost(given, flops, flops, kept + passing)
    products, again = between
    redone = max(kept - products, 0.0)
    return LayerCost(products, flops, again, redone + passing, redone)


def whole(given: float, parts: Sequence[LayerCost], mode: ActivationCheckpointing) -> LayerCost:
    """Demand of a layer of parts. Selective: it keeps its input (`given` bytes) and is computed again as one,
    so that at a part's backward pass the parts before it are there, too."""
    if mode is not ActivationCheckpointing.SELECTIVE:
        return total(parts)
    before = accumulate((part.redone for part in parts), initial=0.0)
    inside = max(there + part.inside for there, part in zip(before, parts, strict=False))
    return replace(total(parts), inside=inside) + LayerCost(given)


def linear(tokens: float, width: float, out: float) -> float:
    """Operations of a linear layer."""
    return 2 * tokens * width * out


def scores(a: NumberBytes, parts: Sequence[Part], heads: int, width: int, dropout: float) -> LayerCost:
    """Softmax(Q K^T) V of every part."""
    pairs = sum(rows * queries * keys for rows, queries, keys in parts)
    if a.fused:  # of each query the logarithm of its sum
        return LayerCost(4.0 * heads * sum(rows * queries for rows, queries, _ in parts), 4 * pairs * width)
    weights = heads * pairs  # kept; and what dropout left of them, and why
    largest = heads * a.work * max((rows * queries * keys for rows, queries, keys in parts), default=0.0)
    return LayerCost(
        weights * (2 * a.work + NOISE if dropout else a.work), 4 * pairs * width, inside=2 * largest
    )


def _between_scores(a: NumberBytes, parts: Sequence[Part], heads: int, width: int) -> Selective:
    if a.fused:
        queries = sum(rows * count for rows, count, _ in parts)
        return queries * (a.work * width + 4.0 * heads), 0.0
    kept = again = 0.0
    for rows, queries, keys in parts:
        kept += a.work * heads * rows * queries * min(keys, width / heads)
        again += 2 * rows * queries * keys * width
    return kept, again


def residual(a: NumberBytes, tokens: float, width: int, dropout: float) -> float:
    """Bytes of dropout, sum and LayerNorm at the end of a layer of a text."""
    return tokens * (width * (a.norm + (NOISE if dropout else 0)) + STATISTICS)


@dataclass(frozen=True)
class TextLayers:
    """Sizes of layers of texts, and what is computed again in them."""

    a: NumberBytes
    width: int
    heads: int
    hidden: int
    dropout: float
    mode: ActivationCheckpointing

    def attention(self, tokens: float, parts: Sequence[Part], out: float | None = None) -> LayerCost:
        """Tokens that attend to one another, of which `out` (all) have a result."""
        a, d, out = self.a, self.width, tokens if out is None else out
        looked = scores(a, parts, self.heads, d, self.dropout)
        keys = sum(rows * count for rows, _, count in parts)
        inside = tokens + 3 * (tokens if a.fused else keys) + out  # input; queries, keys and values; result
        kept = a.work * d * inside + looked.kept + residual(a, out, d, self.dropout)
        flops = linear(tokens, d, 3 * d) + linear(out, d, d) + looked.flops
        passing = looked.inside + 3 * a.work * d * tokens
        return self._unit(kept, flops, tokens, passing, self._between(3 * tokens + out, parts))

    def cross(
        self, tokens: float, parts: Sequence[Part], memories: Sequence[tuple[float, float]], source: int
    ) -> LayerCost:
        """Tokens that look at memories: rows and keys of each, of the width `source`."""
        a, d = self.a, self.width
        looked = scores(a, parts, self.heads, d, self.dropout)
        queries = sum(rows * count for rows, count, _ in parts)
        copied = 2 * sum(rows * keys for rows, _, keys in parts)  # keys and values, a copy for each row
        inside = tokens + queries + tokens + copied
        if a.fused and queries > tokens:  # texts share rows: what attention gives is kept there, too
            inside += queries
        made = sum(rows * keys for rows, keys in memories)
        kept = a.work * d * inside + looked.kept + residual(a, tokens, d, self.dropout)
        if a.norm != a.work:
            kept += a.work * made * source  # what keys and values are made of, converted in every layer
        flops = linear(made, source, 2 * d) + 2 * linear(tokens, d, d) + looked.flops
        passing = looked.inside + a.work * d * (tokens + copied)
        return self._unit(kept, flops, tokens, passing, self._between(2 * tokens + 2 * made, parts))

    def feed_forward(self, tokens: float) -> LayerCost:
        """Two linear layers with GELU between."""
        a, d = self.a, self.width
        kept = a.work * tokens * (d + 2 * self.hidden) + residual(a, tokens, d, self.dropout)
        passing = a.work * tokens * self.hidden  # another follows when what GELU gave is gone
        between = a.work * tokens * (self.hidden + d), 0.0
        return self._unit(kept, 2 * linear(tokens, d, self.hidden), tokens, passing, between)

    def layer(self, tokens: float, *parts: LayerCost) -> LayerCost:
        """A layer of these parts, which is given so many tokens."""
        return whole(self.a.norm * self.width * tokens, parts, self.mode)

    def _between(self, results: float, parts: Sequence[Part]) -> Selective:
        kept, again = _between_scores(self.a, parts, self.heads, self.width)
        return self.a.work * self.width * results + kept, again

    def _unit(
        self, kept: float, flops: float, tokens: float, passing: float, between: Selective
    ) -> LayerCost:
        return unit(kept, flops, self.a.norm * self.width * tokens, passing, between, self.mode)


def vision_block(
    a: NumberBytes,
    pictures: int,
    slots: int,
    width: int,
    heads: int,
    hidden: int,
    mode: ActivationCheckpointing,
) -> LayerCost:
    """A block of the vision encoder."""
    tokens = pictures * slots
    looked = scores(a, [(pictures, slots, slots)], heads, width, 0.0)
    # results of both norms, queries, keys, values, result of attention, both branches before their scales
    kept = tokens * (width * (8 * a.work + 2 * a.norm) + 2 * hidden * a.work + 2 * STATISTICS)
    if a.fused:
        kept += a.work * heads * slots * slots  # the relative positions
    flops = linear(tokens, width, 3 * width) + linear(tokens, width, width)
    flops += 2 * linear(tokens, width, hidden) + looked.flops
    passing = max(looked.inside, a.work * tokens * hidden)
    products, again = _between_scores(a, [(pictures, slots, slots)], heads, width)
    between = products + a.work * tokens * (5 * width + hidden), again
    given = a.work * tokens * width
    return whole(given, [unit(kept + looked.kept, flops, given, passing, between, mode)], mode)


def token_head(a: NumberBytes, tokens: float, width: int, words: int, vocabulary: int) -> LayerCost:
    """The head of masked tokens, with its loss: the logarithms of all probabilities stay, in float32."""
    kept = tokens * (a.work * (width + 2 * words) + a.norm * words + STATISTICS + 4 * vocabulary)
    return LayerCost(kept, linear(tokens, width, words) + linear(tokens, words, vocabulary))


def small_head(a: NumberBytes, rows: float, width: int, out: int) -> LayerCost:
    """`mlp_head`."""
    kept = rows * (a.work * 3 * width + a.norm * 4 * width + STATISTICS)
    return LayerCost(kept, linear(rows, width, 2 * width) + linear(rows, 2 * width, out))
