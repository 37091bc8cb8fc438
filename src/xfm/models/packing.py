"""Texts of different lengths without their padding.

Half of a batch's places are padding. On a CPU everything that treats each token by itself (linear layers,
norms, activations) leaves it out, so that texts of any lengths go through an encoder together at no cost, and
attention sees texts of like length in a grid each. Both ways give the same numbers at real tokens (a test
compares them). Padding is computed where somebody may read it, which is what `encode_text` and `fuse` give
back in evaluation mode, as the published model does, and on a GPU, where changing shapes cost more than it
does.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xfm.models.attention import padding_bias
from xfm.models.attention_layout import (
    TOKENS_STEP,
    Grid,
    Parts,
    Ragged,
    Whole,
    lay_ragged,
    rounded,
    sort_by_length,
)


@dataclass(frozen=True)
class Read:
    """The n tokens whose states a layer computes: `index` [n] int64 into the N tokens, `text` [n'] int64
    the text of each without spare ones, and their `grid`, which has the texts where `Texts.grid` has them."""

    index: Tensor
    text: Tensor
    grid: Grid

    def pick(self, states: Tensor) -> Tensor:
        """[N, D] -> [n, D]."""
        return states.index_select(0, self.index)


@dataclass(frozen=True)
class Texts:
    """Self-attention of texts: layout, biases of each part broadcastable to [B, H, L, L], and the tokens
    to `read` (None: all)."""

    grid: Grid
    biases: Sequence[Tensor]
    read: Read | None = None


def padded(mask: Tensor, bias: Tensor | None = None) -> Texts:
    """Texts of a mask [R, T] as they are; the bias defaults to that of the padding."""
    return Texts(Whole(*mask.shape), [padding_bias(mask) if bias is None else bias])


def leaves_padding_out(mask: Tensor, needed: bool) -> bool:
    """Whether texts are packed: on a CPU, unless states of padding are needed."""
    return not needed and not mask.is_cuda


@dataclass(frozen=True)
class Packed:
    """Texts of padded batches as N tokens without padding.

    `outside` packs (`collect`) and unpacks (`spread`) the batches, finite at padding; `parts` places the
    texts in the layout of `texts`; `text` [n] int64 is the text of each token, `first` [R] int64 the first
    token of each text.
    """

    outside: Ragged
    texts: Texts
    parts: Parts
    text: Tensor
    first: Tensor

    @property
    def tokens(self) -> int:
        """N."""
        return len(self.outside.place)

    def places_in(self, other: "Packed", text: Tensor) -> Tensor:
        """[N] int64, these tokens' places in another layout, given its text [R] int64 for each of these."""
        rank = torch.arange(len(self.text), device=text.device) - self.first[self.text]
        places = other.first[text[self.text]] + rank
        return torch.nn.functional.pad(places, (0, self.tokens - len(places)))

    def read(self, positions: Sequence[Tensor]) -> Read:
        """The tokens at positions [R, m] of each batch's texts."""
        counts = torch.cat([p.new_full((len(p),), p.shape[1]) for p in positions])
        text = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        index = self.first[text] + torch.cat([p.flatten() for p in positions])
        size = rounded(len(index), TOKENS_STEP)
        grid = lay_ragged(text, len(counts), size, self.parts.with_lengths(counts))
        return Read(torch.nn.functional.pad(index, (0, size - len(index))), text, grid)


def pack_texts(masks: Sequence[Tensor], kinds: Sequence[int] | None = None) -> Packed:
    """Layout of batches with masks [R, T] (real tokens first); texts of batches of different `kinds` share
    no part."""
    lengths = torch.cat([mask.sum(1) for mask in masks])
    flat = torch.cat([mask.flatten() for mask in masks])
    real = flat.nonzero().squeeze(1)
    size = rounded(max(1, len(real)), TOKENS_STEP)
    place, token = real.new_zeros(size), real.new_zeros(len(flat))
    place[: len(real)], token[real] = real, torch.arange(len(real), device=real.device)
    spare, holes = torch.arange(len(real), size, device=real.device), (~flat).nonzero().squeeze(1)
    outside = Ragged(place, token, spare, holes, tuple((m.shape[0], m.shape[1]) for m in masks))
    text = torch.arange(len(lengths), device=real.device).repeat_interleave(lengths)
    kind = [torch.full((len(m),), k) for m, k in zip(masks, kinds or [0] * len(masks), strict=True)]
    parts = sort_by_length(lengths, torch.cat(kind).to(real.device))
    grid = lay_ragged(text, len(lengths), size, parts)
    biases = [
        padding_bias(torch.arange(length, device=real.device) < counts[:, None])
        for counts, (_, length) in zip(parts.filled(lengths), parts.shapes, strict=True)
    ]
    return Packed(outside, Texts(grid, biases), parts, text, lengths.cumsum(0) - lengths)
