"""What a layer keeps for its backward pass, and its operations, by formula from its sizes. Kept is what
autograd saves of each operation, every piece of memory once: the inputs of linear layers, of LayerNorms and
of GELU, what attention needs, what dropout remembers. Which tensors these are follows from `xfm.models`, and
a change there is a change here: tests compare both with what torch keeps in a real step."""

from collections.abc import Sequence
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


def linear(tokens: float, width: float, out: float) -> float:
    """Operations of a linear layer."""
    return 2 * tokens * width * out


@dataclass(frozen=True)
class Layers:
    """Sizes of the layers of an encoder, and what is computed again in them; bytes of the numbers of matrix
    products (`work`) and of LayerNorms (float32 under a GPU's autocast). `fused` is a GPU's way: attention
    keeps no scores, texts are padded."""

    work: int
    norm: int
    fused: bool
    width: int
    heads: int
    hidden: int
    dropout: float
    mode: ActivationCheckpointing

    def attention(self, tokens: float, parts: Sequence[Part], out: float | None = None) -> LayerCost:
        """Tokens of texts that attend to one another, of which `out` (all) have a result."""
        d, out = self.width, tokens if out is None else out
        scores, products = self._scores(parts)
        keys = sum(rows * count for rows, _, count in parts)
        # input; queries, keys and values; result
        inside = tokens + 3 * (tokens if self.fused else keys) + out
        kept = self.work * d * inside + scores.kept + self.residual(out)
        flops = linear(tokens, d, 3 * d) + linear(out, d, d) + scores.flops
        products += self.work * d * (3 * tokens + out)
        passing = scores.inside + 3 * self.work * d * tokens
        return self._unit(LayerCost(kept, flops, scores.again, passing), products, self.norm * d * tokens)

    def cross(self, tokens: float, parts: Sequence[Part], memory: float, source: int) -> LayerCost:
        """Tokens of texts that look at `memory` states of the width `source`."""
        d = self.width
        scores, products = self._scores(parts)
        queries = sum(rows * count for rows, count, _ in parts)
        copied = 2 * sum(rows * keys for rows, _, keys in parts)  # keys and values, a copy for each row
        inside = tokens + queries + tokens + copied
        if self.fused and queries > tokens:  # texts share rows: what attention gives is kept there, too
            inside += queries
        kept = self.work * d * inside + scores.kept + self.residual(tokens)
        if self.norm != self.work:
            kept += self.work * memory * source  # what keys and values are made of, converted in every layer
        flops = linear(memory, source, 2 * d) + 2 * linear(tokens, d, d) + scores.flops
        products += self.work * d * 2 * (tokens + memory)
        passing = scores.inside + self.work * d * (tokens + copied)
        return self._unit(LayerCost(kept, flops, scores.again, passing), products, self.norm * d * tokens)

    def feed_forward(self, tokens: float) -> LayerCost:
        """Two linear layers with GELU between, of a text."""
        d = self.width
        kept = self.work * tokens * (d + 2 * self.hidden) + self.residual(tokens)
        passing = self.work * tokens * self.hidden  # another follows when what GELU gave is gone
        cost = LayerCost(kept, 2 * linear(tokens, d, self.hidden), inside=passing)
        return self._unit(cost, self.work * tokens * (self.hidden + d), self.norm * d * tokens)

    def residual(self, tokens: float) -> float:
        """Bytes of dropout, sum and LayerNorm at the end of a layer of a text."""
        return tokens * (self.width * (self.norm + (NOISE if self.dropout else 0)) + STATISTICS)

    def vision_block(self, pictures: int, slots: int) -> LayerCost:
        """A block of the vision encoder."""
        d, tokens = self.width, pictures * slots
        scores, products = self._scores([(pictures, slots, slots)])
        # results of both norms, queries, keys, values, result of attention, both branches before their scales
        kept = tokens * (d * (8 * self.work + 2 * self.norm) + 2 * self.hidden * self.work + 2 * STATISTICS)
        if self.fused:
            kept += self.work * self.heads * slots * slots  # the relative positions
        flops = linear(tokens, d, 4 * d) + 2 * linear(tokens, d, self.hidden) + scores.flops
        passing, given = max(scores.inside, self.work * tokens * self.hidden), self.work * tokens * d
        products += self.work * tokens * (5 * d + self.hidden)
        cost = LayerCost(kept + scores.kept, flops, scores.again, passing)
        return self.layer(given, self._unit(cost, products, given))

    def layer(self, given: float, *parts: LayerCost) -> LayerCost:
        """A layer of these parts. Selective: it keeps its input (`given` bytes) and is computed again as one,
        so that at a part's backward pass the parts before it are there, too."""
        together = sum(parts, LayerCost())
        if self.mode is not ActivationCheckpointing.SELECTIVE:
            return together
        before = accumulate((part.redone for part in parts), initial=0.0)
        inside = max(there + part.inside for there, part in zip(before, parts, strict=False))
        return replace(together, inside=inside) + LayerCost(given)

    def _scores(self, parts: Sequence[Part]) -> tuple[LayerCost, float]:
        """Softmax(Q K^T) V of every part, with what is done again, and the bytes of its products that are
        kept, if checkpointing is selective."""
        d, heads = self.width, self.heads
        pairs = [rows * queries * keys for rows, queries, keys in parts]
        flops = 4 * sum(pairs) * d
        if self.fused:  # of each query the logarithm of its sum
            queries = sum(rows * count for rows, count, _ in parts)
            return LayerCost(4.0 * heads * queries, flops), queries * (self.work * d + 4.0 * heads)
        size = 2 * self.work + NOISE if self.dropout else self.work  # also what dropout left of them, and why
        inside = 2 * heads * self.work * max(pairs, default=0.0)
        least = sum(rows * queries * min(keys, d / heads) for rows, queries, keys in parts)
        return LayerCost(heads * sum(pairs) * size, flops, flops / 2, inside), self.work * heads * least

    def _unit(self, cost: LayerCost, products: float, given: float) -> LayerCost:
        """Cost of a part that may keep less: its products of matrices, or what it is given (bytes)."""
        kept, passing = cost.kept, cost.inside
        if self.mode is ActivationCheckpointing.NONE:
            return replace(cost, again=0.0)
        if self.mode is ActivationCheckpointing.FULL:
            return LayerCost(given, cost.flops, cost.flops, kept + passing)
        redone = max(kept - products, 0.0)
        return LayerCost(products, cost.flops, cost.again, redone + passing, redone)
