"""Many queries on few memories: how cross-attention shares keys and values.

In a training step some five texts per region attend to the same picture. Copying the picture's keys and
values for each is what the fused GPU kernels want; on a CPU those copies cost more than the attention itself,
so there the tokens that look at a picture are laid side by side and attend to its keys and values where they
are. Both give the same numbers (a test compares them).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.modeling.attention import padding_bias
from xfm.modeling.grids import Grid, Whole, lay_ragged, sort_by_length


@dataclass(frozen=True)
class Memory:
    """M memories of K keys, and the Q texts that attend to them.

    Attributes:
        states: [M, K, Ds] what keys and values are made of.
        index: [Q] int64, the memory of each text.
        visible: [Q, K] bool, the keys that each text sees; None for all.
    """

    states: Tensor
    index: Tensor
    visible: Tensor | None = None


@dataclass(frozen=True)
class Memories:
    """How N tokens attend to memories.

    Attributes:
        sources: [M, K, Ds] each; keys and values are made of each once.
        grid: of the tokens.
        rows: for each part of the grid the source of its keys and the memory [B] of each of its rows; None
            for the source's memories in their order.
        biases: for each part what to add to its scores, None for nothing.
    """

    sources: Sequence[Tensor]
    grid: Grid
    rows: Sequence[tuple[int, Tensor | None]]
    biases: Sequence[Tensor | None]

    def share(self, made: Sequence[Tensor]) -> list[Tensor]:
        """[M, K, D] made of each source -> [B, K, D] for each part of the grid."""
        return [
            made[source] if rows is None else made[source].index_select(0, rows) for source, rows in self.rows
        ]


def remember(memory: Memory, tokens: int) -> Memories:
    """The layout for padded texts of `tokens` tokens."""
    shared = len(memory.index) > 2 * len(memory.states)
    if memory.states.is_cuda or not shared:
        return copied(memory, tokens)
    texts = torch.arange(len(memory.index), device=memory.index.device)
    return side_by_side([memory], texts.repeat_interleave(tokens), len(texts) * tokens)


def copied(memory: Memory, tokens: int) -> Memories:
    """Every padded text gets its own copy of its memory."""
    bias = None if memory.visible is None else padding_bias(memory.visible)
    grid = Whole(len(memory.index), tokens)
    return Memories([memory.states], grid, [(0, memory.index)], [bias])


def side_by_side(memories: Sequence[Memory], text: Tensor, tokens: int) -> Memories:
    """All tokens that attend to a memory lie in a row.

    Args:
        memories: each with texts of its own, which are counted through all of them.
        text: [n] int64, the text of each token that is not spare.
        tokens: N, at least n.
    """
    sizes = [len(memory.states) for memory in memories]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    of_text = torch.cat([m.index + start for m, start in zip(memories, starts, strict=True)])
    row = of_text[text]
    source = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(row.device)
    parts = sort_by_length(torch.bincount(row, minlength=sum(sizes)), source)
    grid = lay_ragged(row, sum(sizes), tokens, parts)
    first = [sum(len(m.index) for m in memories[:place]) for place in range(len(memories))]
    rows, biases, texts = [], [], text[grid.token].split([r * length for r, length in parts.shapes])
    for members, shape, looking in zip(parts.members, parts.shapes, texts, strict=True):
        number = int(source[members[0]])
        picked = row.new_zeros(shape[0])
        picked[: len(members)] = members - starts[number]
        rows.append((number, picked))
        visible = memories[number].visible
        # Holes show the first token's text, which may be of another source; what they see does not matter.
        seen = None if visible is None else visible[(looking - first[number]).clamp(0, len(visible) - 1)]
        biases.append(None if seen is None else padding_bias(seen).view(shape[0], 1, shape[1], -1))
    return Memories([memory.states for memory in memories], grid, rows, biases)
