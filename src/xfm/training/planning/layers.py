"""What operations keep for the backward pass, and how much they compute, from their sizes: one table, of
which layers and heads are sums. Kept is what autograd saves of each operation, every piece of memory once.
Which operations a layer has follows from `xfm.models`, and a change there is a change here: tests compare
both with what torch keeps in a real step."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from xfm.config.training import ActivationCheckpointing

Unit = tuple[float, "Cost"]
"""A unit of a layer (`models.encoders.units_of`): bytes that it is given, and its cost."""
Part = tuple[float, float, float]
"""Rows of a part of attention, the queries of each and the keys of each."""


@dataclass(frozen=True)
class Cost:
    """Bytes kept until the backward pass, operations (a multiply-add is two), those done again in it, bytes
    that results of matrix products take, and bytes of gradients inside the largest layer."""

    kept: float = 0.0
    flops: float = 0.0
    again: float = 0.0
    products: float = 0.0
    inside: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        kept, flops, again = self.kept + other.kept, self.flops + other.flops, self.again + other.again
        return Cost(kept, flops, again, self.products + other.products, max(self.inside, other.inside))

    def times(self, count: int) -> "Cost":
        """So many of them, one after another."""
        kept, flops, again = self.kept * count, self.flops * count, self.again * count
        return Cost(kept, flops, again, self.products * count, self.inside)


@dataclass(frozen=True)
class Layers:
    """Operations and units of the layers of an encoder. Numbers of matrix products have `work` bytes, those
    of LayerNorms `norm` (float32 under a GPU's autocast); `fused` is a GPU's way: attention keeps no scores.
    `mode` says what is computed again."""

    work: int
    norm: int
    fused: bool
    width: int
    heads: int
    hidden: int
    dropout: float
    mode: ActivationCheckpointing

    def linear(self, tokens: float, width: float, out: float) -> Cost:
        """A linear layer, which keeps its input."""
        return Cost(self.work * tokens * width, 2 * tokens * width * out, 0.0, self.work * tokens * out)

    def layer_norm(self, tokens: float, width: float) -> Cost:
        """LayerNorm, which keeps its input, mean and deviation."""
        return Cost(tokens * (self.norm * width + 8))

    def numbers(self, count: float) -> Cost:
        """What is kept besides: inputs of GELU, queries, keys, values."""
        return Cost(self.work * count)

    def scores(self, parts: Sequence[Part]) -> Cost:
        """Softmax(Q K^T) V of every part, without queries, keys and values."""
        pairs = [rows * queries * keys for rows, queries, keys in parts]
        flops, heads, work = 4 * sum(pairs) * self.width, self.heads, self.work
        if self.fused:  # of each query the logarithm of its sum
            queries = sum(rows * count for rows, count, _ in parts)
            return Cost(4.0 * heads * queries, flops, 0.0, queries * (work * self.width + 4.0 * heads))
        size = 2 * work + 1 if self.dropout else work  # also what dropout left of them, and why
        inside = 2 * heads * work * max(pairs, default=0.0)
        least = sum(rows * queries * min(keys, self.width / heads) for rows, queries, keys in parts)
        return Cost(heads * sum(pairs) * size, flops, flops / 2, work * heads * least, inside)

    def attention(self, texts: Sequence[Part], ends: Sequence[Part] | None = None) -> Unit:
        """Texts whose tokens attend to one another, of which only those of `ends` may have a result."""
        d, ends = self.width, texts if ends is None else ends
        tokens, out = (sum(rows * count for rows, count, _ in parts) for parts in (texts, ends))
        made = self.linear(tokens, d, 3 * d) + self.numbers(3 * tokens * d) + self.scores(ends)
        return self._closed(tokens, made + self.linear(out, d, d), 3 * tokens * d, out)

    def cross(self, tokens: float, parts: Sequence[Part], memory: float, source: int) -> Unit:
        """Tokens of texts that look at `memory` states of the width `source`."""
        d, queries = self.width, sum(rows * count for rows, count, _ in parts)
        copied = 2 * sum(rows * keys for rows, _, keys in parts)  # keys and values, a copy for each row
        shared = self.fused and queries > tokens  # rows: what attention gives is kept there, too
        unit = self.linear(tokens, d, d).times(2) + self.numbers((queries * (1 + shared) + copied) * d)
        made = self.linear(memory, source, 2 * d)
        if self.norm == self.work:  # else its input is converted in every layer
            made = replace(made, kept=0.0)
        return self._closed(tokens, unit + self.scores(parts) + made, (tokens + copied) * d)

    def feed_forward(self, tokens: float) -> Unit:
        """Two linear layers with GELU between, of a text."""
        return self._closed(tokens, self._hidden(tokens), tokens * self.hidden)

    def vision_block(self, pictures: int, slots: int) -> Cost:
        """A block of the vision encoder."""
        d, tokens = self.width, pictures * slots
        unit = self.layer_norm(tokens, d).times(2) + self._hidden(tokens)
        unit += self.linear(tokens, d, 3 * d) + self.linear(tokens, d, d)
        # queries, keys, values, both branches before their scales, and relative positions
        unit += self.numbers(5 * d * tokens + self.heads * slots * slots * self.fused)
        unit += self.scores([(pictures, slots, slots)]) + Cost(inside=self.work * tokens * self.hidden)
        return self.layer((self.work * tokens * d, unit))

    def layer(self, *units: Unit) -> Cost:
        """A layer of units. Full: a unit keeps these. Selective: the
        layer keeps its input and products of matrices, and is computed again as one, so that at a unit's
        backward pass what is computed again of the units before it is there, too."""
        selective, there = self.mode is ActivationCheckpointing.SELECTIVE, 0.0
        found = Cost(units[0][0] if selective else 0.0)
        for given, unit in units:
            if selective:
                there += max(unit.kept - unit.products, 0.0)
                found += replace(unit, kept=unit.products, inside=there + unit.inside)
            elif self.mode is ActivationCheckpointing.FULL:
                found += Cost(given, unit.flops, unit.flops, inside=unit.kept + unit.inside)
            else:
                found += replace(unit, again=0.0)
        return found

    def residual(self, tokens: float) -> Cost:
        """Dropout, which keeps a byte a number, sum and LayerNorm at the end of a unit of a text."""
        return self.layer_norm(tokens, self.width) + Cost(tokens * self.width * (self.dropout > 0))

    def _closed(self, tokens: float, unit: Cost, passing: float, out: float | None = None) -> Unit:
        """A unit of a text with its end; `passing` numbers of gradients come and go in it."""
        unit = replace(unit, inside=unit.inside + self.work * passing)
        return self.norm * self.width * tokens, unit + self.residual(tokens if out is None else out)

    def _hidden(self, tokens: float) -> Cost:
        d, hidden = self.width, self.hidden
        gelu = self.numbers(tokens * hidden)
        return self.linear(tokens, d, hidden) + gelu + self.linear(tokens, hidden, d)
