"""Keys and values of few memories, shared by many queries in cross-attention.

In a training step some five texts per region attend to one image, and a copy of its keys and values each
would take more memory than anything else here. A CPU lays the tokens side by side, on the image's own keys; a
GPU, which must not be asked how many texts an image has, gives padded texts of an image a shared row, as many
as make copies and padding small. All give the same numbers (tests compare them).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.data.collate import round_up
from xfm.models.attention import padding_bias
from xfm.models.attention_layout import STEP, Grid, PaddedRows, lay_ragged, sort_by_length
from xfm.models.precision import working_dtype


@dataclass(frozen=True)
class Memory:
    """M memories [M, K, Ds], the memory [Q] int64 of each of Q texts, and the keys [Q, K] bool that each
    sees (None: all)."""

    states: Tensor
    index: Tensor
    visible: Tensor | None = None


@dataclass(frozen=True)
class Memories:
    """Layout of N tokens on memories: `sources` [M, K, Ds], from each of which keys and values are made
    once; for each part of `grid` its source and rows [B] (None: all in order), and the bias of its scores."""

    sources: Sequence[Tensor]
    grid: Grid
    rows: Sequence[tuple[int, Tensor | None]]
    biases: Sequence[Tensor | None]

    def share(self, made: Sequence[Tensor]) -> list[Tensor]:
        """[M, K, D] of each source -> [B, K, D] for each part of the layout."""
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
    """Layout in which every padded text has its own copy of its memory."""
    bias = None if memory.visible is None else padding_bias(memory.visible)
    grid = PaddedRows(len(memory.index), tokens)
    return Memories([memory.states], grid, [(0, memory.index)], [bias])


def rows_of_texts(texts: int, tokens: int, memories: int, keys: int) -> tuple[int, int]:
    """Texts per row G and number of rows that minimise copies M + (Q - M) / G of K keys plus padding M (G
    - 1) of T tokens, for any assignment of texts to memories."""
    used = min(texts, memories)
    each = max(1, round(sqrt((texts - used) * keys / (used * tokens)))) if used else 1
    return each, (texts + used * (each - 1)) // each


def joined(memory: Memory, tokens: int) -> Memories:
    """Layout in which padded texts of one memory share rows; independent of their counts, for which a GPU
    would have to wait."""
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
    bias = None
    if memory.visible is not None:
        # [R, 1, G * T, K], once for all layers; row strides are multiples of `STEP`, else kernels copy it in
        # every layer.
        seen = working_dtype(padding_bias(memory.visible)[:, 0, 0])
        seen = F.pad(seen, (0, round_up(keys, STEP) - keys))
        laid = seen.new_zeros(rows * each, seen.shape[1]).index_copy(0, place, seen)
        bias = laid[:, None].expand(-1, tokens, -1).reshape(rows, 1, each * tokens, -1)[..., :keys]
    grid = PaddedRows(rows, tokens, place, each)
    return Memories([memory.states], grid, [(0, of_row)], [bias])


def side_by_side(memories: Sequence[Memory], text: Tensor, tokens: int) -> Memories:
    """Layout in which all tokens of a memory lie in a row: `text` [n] int64 is each token's text, counted
    through all memories, of N tokens."""
    sizes = [len(memory.states) for memory in memories]
    starts = [sum(sizes[:place]) for place in range(len(sizes))]
    of_text = torch.cat([m.index + start for m, start in zip(memories, starts, strict=True)])
    row = of_text[text]
    source = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes)).to(row.device)
    parts = sort_by_length(torch.bincount(row, minlength=sum(sizes)), source)
    grid = lay_ragged(row, sum(sizes), tokens, parts)
    first = [sum(len(m.index) for m in memories[:place]) for place in range(len(memories))]
    rows, biases, texts = [], [], text[grid.token].split([r * length for _, (r, length) in parts])
    for (members, shape), looking in zip(parts, texts, strict=True):
        number = int(source[members[0]])
        picked = row.new_zeros(shape[0])
        picked[: len(members)] = members - starts[number]
        rows.append((number, picked))
        visible = memories[number].visible
        # Holes show the first token's text, which may be of another source; what they see does not matter.
        seen = None if visible is None else visible[(looking - first[number]).clamp(0, len(visible) - 1)]
        biases.append(None if seen is None else padding_bias(seen).view(shape[0], 1, shape[1], -1))
    return Memories([memory.states for memory in memories], grid, rows, biases)
