"""Many queries on few memories: how cross-attention shares keys and values.

In a training step some five texts per region attend to the same picture, and a copy of its keys and values
for each of them takes more memory than anything else in cross-attention. On a CPU the tokens that look at a
picture are laid side by side and attend to its keys and values where they are. On a GPU, which is not to be
asked how many texts a picture has, padded texts of a picture share a row and a copy, as many of them as makes
copies and padding small. All ways give the same numbers (tests compare them).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.models.attention import padding_bias
from xfm.models.attention_layout import STEP, Grid, Joined, Whole, lay_ragged, rounded, sort_by_length
from xfm.models.precision import working_dtype


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
    if memory.states.is_cuda:
        return joined(memory, tokens)
    if len(memory.index) <= 2 * len(memory.states):
        return copied(memory, tokens)
    texts = torch.arange(len(memory.index), device=memory.index.device)
    return side_by_side([memory], texts.repeat_interleave(tokens), len(texts) * tokens)


def copied(memory: Memory, tokens: int) -> Memories:
    """Every padded text gets its own copy of its memory."""
    bias = None if memory.visible is None else padding_bias(memory.visible)
    grid = Whole(len(memory.index), tokens)
    return Memories([memory.states], grid, [(0, memory.index)], [bias])


def rows_of_texts(texts: int, tokens: int, memories: int, keys: int) -> tuple[int, int]:
    """Most texts in a row, G, and rows in all, in which keys, values, queries and results take least.

    A memory has a row that is not full at most. So G texts a row take M + (Q - M) / G copies of keys and
    values, and Q + M (G - 1) padded texts: the sum is least where its derivative by G is 0. The rows are as
    many as there can be with all texts of a row on one memory, whichever text attends to which.

    Args:
        texts: Q.
        tokens: of each text.
        memories: M.
        keys: of each memory.
    """
    used = min(texts, memories)
    each = max(1, round(sqrt((texts - used) * keys / (used * tokens)))) if used else 1
    return each, (texts + used * (each - 1)) // each


def joined(memory: Memory, tokens: int) -> Memories:
    """Padded texts on one memory share rows, of which each has its own copy of the memory.

    Nothing here depends on how many texts a memory has: a GPU would have to end all its work to say it.
    """
    count, keys = memory.states.shape[:2]
    index = memory.index
    each, rows = rows_of_texts(len(index), tokens, count, keys)
    if each == 1:
        return copied(memory, tokens)
    order = index.argsort(stable=True)
    ordered, numbers = index[order], torch.arange(len(index), device=index.device)
    place = (numbers - torch.searchsorted(ordered, ordered)) % each  # in its row
    row = place.eq(0).cumsum(0) - 1
    place = index.new_zeros(len(index)).index_copy(0, order, row * each + place)
    of_row = index.new_zeros(rows).scatter(0, row, ordered)
    bias = None if memory.visible is None else _joined_bias(memory.visible, place, rows, each, tokens)
    grid = Joined(place, (rows, each, tokens))
    return Memories([memory.states], grid, [(0, of_row)], [bias])


def _joined_bias(visible: Tensor, place: Tensor, rows: int, each: int, tokens: int) -> Tensor:
    """[R, 1, G * T, K] of texts that see [Q, K]: made once for all layers, in the dtype that they work in.

    Kernels want rows that begin at multiples of some numbers, and would copy others in every layer.
    """
    keys = visible.shape[1]
    seen = working_dtype(padding_bias(visible)[:, 0, 0])
    seen = F.pad(seen, (0, rounded(keys, STEP) - keys))
    laid = seen.new_zeros(rows * each, seen.shape[1]).index_copy(0, place, seen)
    laid = laid[:, None].expand(-1, tokens, -1).reshape(rows, 1, each * tokens, -1)
    return laid[..., :keys]


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
