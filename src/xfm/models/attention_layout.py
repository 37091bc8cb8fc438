"""Layouts of tokens in rows for attention, and texts packed without their padding.

`PaddedRows` is a padded batch, or several of its texts in a row; `RaggedLayout` lays tokens from
anywhere into rows of few lengths, so that little of attention is padding. Half of a batch's places are
padding: on a CPU the layers that treat each token by itself leave it out (the numbers at real tokens are the
same, a test compares them). It is computed where its states may be read (`encode_text` and `fuse` in
evaluation, as the published model), and on a GPU, where changing shapes cost more.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from xfm.data.collate import round_up
from xfm.models.attention import padding_bias

LENGTHS = (8, 16, 32, 64, 128, 256)
"""Rows are as long as the least of these that holds them, longer ones as the longest of all."""

STEP = 8
"""Rows and lengths of parts are multiples of this: kernels are built per shape, so few should occur."""

TOKENS_STEP = 64
"""And so are numbers of tokens of this."""


@dataclass(frozen=True)
class PaddedRows:
    """Q padded texts of T tokens in R rows, up to G (`each`) in a row. `place` [Q] int64 is each text's among
    the R * G, of which others are zero; None: all in order."""

    rows: int
    length: int
    place: Tensor | None = None
    each: int = 1

    def spread(self, states: Tensor) -> list[Tensor]:
        """[Q * T, D] -> [R, G * T, D]."""
        if self.place is not None:
            texts = states.reshape(len(self.place), -1)
            states = texts.new_zeros(self.rows * self.each, texts.shape[1]).index_copy(0, self.place, texts)
        return [states.reshape(self.rows, self.each * self.length, -1)]

    def collect(self, parts: Sequence[Tensor]) -> Tensor:
        """[R, G * T, D] -> [Q * T, D]."""
        if self.place is None:
            return parts[0].flatten(0, 1)
        texts = parts[0].reshape(self.rows * self.each, -1).index_select(0, self.place)
        return texts.view(len(self.place) * self.length, -1)


@dataclass(frozen=True)
class RaggedLayout:
    """N tokens in the P places of rows that may have holes. `place` [N] int64 and `token` [P] int64 map
    both ways; `spare` tokens and `holes` (int64 indices) get no gradient; `shapes` has rows and length of
    each part."""

    place: Tensor
    token: Tensor
    spare: Tensor
    holes: Tensor
    shapes: tuple[tuple[int, int], ...]

    def spread(self, states: Tensor) -> list[Tensor]:
        """[N, D] -> a [B, L, D] for each part."""
        flat = states.reshape(len(self.place), -1)
        places = _Select.apply(flat, self.token, self.place, self.spare)
        parts = places.split([rows * length for rows, length in self.shapes])
        return [part.view(*shape, flat.shape[-1]) for part, shape in zip(parts, self.shapes, strict=True)]

    def collect(self, parts: Sequence[Tensor]) -> Tensor:
        """A [B, L, D] for each part -> [N, D]."""
        flat = torch.cat([part.flatten(0, 1) for part in parts])
        return _Select.apply(flat, self.place, self.token, self.holes)


Grid = PaddedRows | RaggedLayout
"""N tokens in rows: `spread` gives a [B, L, D] for each part of one length, `collect` undoes it."""


class _Select(torch.autograd.Function):
    """Rows by index, whose backward pass selects too: index_add is many times slower on a CPU. Each row is
    selected once, but for `unused`, which get no gradient."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, back: Tensor, unused: Tensor) -> Tensor:
        ctx.save_for_backward(back, unused)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        back, unused = ctx.saved_tensors
        return gradients[0].index_select(0, back).index_fill_(0, unused, 0), None, None, None


Parts = Sequence[tuple[Tensor, tuple[int, int]]]
"""Rows sorted into parts of one length: the members [b] int64 of each part, with its number of rows and their
length; rows without a member stay empty."""


def sort_by_length(counts: Tensor, kind: Tensor) -> Parts:
    """Parts of rows of like length and the same `kind` [R] int64, given `counts` [R] int64 of tokens; rows
    without tokens are in none."""
    longest = round_up(int(counts.max()), STEP)
    ends = [0, *(length for length in LENGTHS if length < longest), longest]
    parts = []
    for number in kind.unique().tolist():
        for shortest, length in pairwise(ends):
            rows = ((kind == number) & (counts > shortest) & (counts <= length)).nonzero().squeeze(1)
            if len(rows):
                parts.append((rows, (round_up(len(rows), STEP), length)))
    return parts


def lay_ragged(row: Tensor, rows: int, tokens: int, parts: Parts) -> RaggedLayout:
    """Layout of N tokens, given the row [n] int64 of each that is not spare; order within a row stays."""
    starts, total = row.new_zeros(rows), 0
    for members, (count, length) in parts:
        starts[members] = total + torch.arange(len(members), device=row.device) * length
        total += count * length
    order = row.argsort(stable=True)
    counts = torch.bincount(row, minlength=rows)
    ordered, numbers = row[order], torch.arange(len(row), device=row.device)
    rank = numbers - (counts.cumsum(0) - counts)[ordered]
    place, token = row.new_zeros(tokens), row.new_full((total,), -1)
    place[order] = starts[ordered] + rank
    token[place[: len(row)]] = numbers
    spare, holes = torch.arange(len(row), tokens, device=row.device), token.eq(-1).nonzero().squeeze(1)
    return RaggedLayout(place, token.clamp_(min=0), spare, holes, tuple(shape for _, shape in parts))


@dataclass(frozen=True)
class Read:
    """The n tokens whose states a layer computes: `index` [n] int64 into the N tokens, `text` [n'] int64
    the text of each without spare ones, and their `grid`, which has the texts where `Texts.grid` has them."""

    index: Tensor
    text: Tensor
    grid: Grid


@dataclass(frozen=True)
class Texts:
    """Self-attention of texts: layout, biases of each part broadcastable to [B, H, L, L], and the tokens
    to `read` (None: all)."""

    grid: Grid
    biases: Sequence[Tensor]
    read: Read | None = None


def padded(mask: Tensor, bias: Tensor | None = None) -> Texts:
    """Texts of a mask [R, T] as they are; the bias defaults to that of the padding."""
    return Texts(PaddedRows(mask.shape[0], mask.shape[1]), [padding_bias(mask) if bias is None else bias])


def leaves_padding_out(mask: Tensor, needed: bool) -> bool:
    """Whether texts are packed: on a CPU, unless states of padding are needed."""
    return not needed and not mask.is_cuda


@dataclass(frozen=True)
class Packed:
    """Texts of padded batches as N tokens without padding. `outside` packs (`collect`) and unpacks (`spread`)
    the batches, finite at padding; `parts` places the texts in the layout of `texts`; `text` [n] int64 is the
    text of each token, `first` [R] int64 the first token of each text."""

    outside: RaggedLayout
    texts: Texts
    parts: Parts
    text: Tensor
    first: Tensor

    def read(self, positions: Sequence[Tensor]) -> Read:
        """The tokens at positions [R, m] of each batch's texts."""
        counts = torch.cat([p.new_full((len(p),), p.shape[1]) for p in positions])
        text = torch.arange(len(counts), device=counts.device).repeat_interleave(counts)
        index = self.first[text] + torch.cat([p.flatten() for p in positions])
        size = round_up(len(index), TOKENS_STEP)
        parts = [(texts, (rows, int(counts[texts].max()))) for texts, (rows, _) in self.parts]
        grid = lay_ragged(text, len(counts), size, parts)
        return Read(torch.nn.functional.pad(index, (0, size - len(index))), text, grid)


def pack_texts(masks: Sequence[Tensor], kinds: Sequence[int] | None = None) -> Packed:
    """Layout of batches with masks [R, T] (real tokens first); texts of batches of different `kinds` share
    no part."""
    lengths = torch.cat([mask.sum(1) for mask in masks])
    flat = torch.cat([mask.flatten() for mask in masks])
    real = flat.nonzero().squeeze(1)
    size = round_up(max(1, len(real)), TOKENS_STEP)
    place, token = real.new_zeros(size), real.new_zeros(len(flat))
    place[: len(real)], token[real] = real, torch.arange(len(real), device=real.device)
    spare, holes = torch.arange(len(real), size, device=real.device), (~flat).nonzero().squeeze(1)
    outside = RaggedLayout(place, token, spare, holes, tuple((m.shape[0], m.shape[1]) for m in masks))
    text = torch.arange(len(lengths), device=real.device).repeat_interleave(lengths)
    kind = [torch.full((len(m),), k) for m, k in zip(masks, kinds or [0] * len(masks), strict=True)]
    parts = sort_by_length(lengths, torch.cat(kind).to(real.device))
    grid = lay_ragged(text, len(lengths), size, parts)
    biases = []
    for members, (rows, length) in parts:
        counts = lengths.new_zeros(rows)
        counts[: len(members)] = lengths[members]
        biases.append(padding_bias(torch.arange(length, device=real.device) < counts[:, None]))
    return Packed(outside, Texts(grid, biases), parts, text, lengths.cumsum(0) - lengths)
