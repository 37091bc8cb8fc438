"""How tokens are laid out for attention, which alone needs the tokens of a text, or of a picture, in a row.

Everything else treats each token by itself, whatever the layout. `Whole` is a padded batch as it is, `Joined`
has several of its texts in a row; `Ragged` lays tokens that lie anywhere into rows of few lengths, so that
little of what attention computes is padding.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

LENGTHS = (8, 16, 32, 64, 128, 256)
"""Rows are as long as the least of these that holds them, longer ones as the longest of all."""

STEP = 8
"""Rows and lengths of parts are multiples of this: kernels are built per shape, so few should occur."""

TOKENS_STEP = 64
"""And so are numbers of tokens of this."""


@dataclass(frozen=True)
class Whole:
    """Tokens that lie in R rows of T already."""

    rows: int
    length: int

    def spread(self, states: Tensor) -> list[Tensor]:
        """[R * T, D] -> [R, T, D]."""
        return [states.reshape(self.rows, self.length, -1)]

    def collect(self, parts: Sequence[Tensor]) -> Tensor:
        """[R, T, D] -> [R * T, D]."""
        return parts[0].flatten(0, 1)


@dataclass(frozen=True)
class Joined:
    """Padded texts of T tokens, up to G of them in a row; places that no text takes are zero.

    Attributes:
        place: [Q] int64, where each text lies among the R * G.
        shape: R, G and T.
    """

    place: Tensor
    shape: tuple[int, int, int]

    def spread(self, states: Tensor) -> list[Tensor]:
        """[Q * T, D] -> [R, G * T, D]."""
        rows, each, length = self.shape
        texts = states.reshape(len(self.place), -1)
        laid = texts.new_zeros(rows * each, texts.shape[1]).index_copy(0, self.place, texts)
        return [laid.view(rows, each * length, -1)]

    def collect(self, parts: Sequence[Tensor]) -> Tensor:
        """[R, G * T, D] -> [Q * T, D]."""
        rows, each, length = self.shape
        texts = parts[0].reshape(rows * each, -1).index_select(0, self.place)
        return texts.view(len(self.place) * length, -1)


@dataclass(frozen=True)
class Ragged:
    """N tokens, the last of which may be spare, in rows that may have holes: neither gets a gradient.

    Attributes:
        place: [N] int64 into the P places of all parts; spare tokens take the first.
        token: [P] int64 into the N tokens; holes take the first.
        spare: int64 indices of tokens.
        holes: int64 indices of places.
        shapes: rows and length of each part.
    """

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


Grid = Whole | Joined | Ragged
"""N tokens in rows: `spread` gives a [B, L, D] for each part of one length, `collect` undoes it."""


class _Select(torch.autograd.Function):
    """Rows by index, with a backward pass that selects too: adding up by index is many times slower on a CPU.

    Every row is selected once, but for those of `unused`, which are not: they get no gradient.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, back: Tensor, unused: Tensor) -> Tensor:
        ctx.save_for_backward(back, unused)
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        back, unused = ctx.saved_tensors
        return gradients[0].index_select(0, back).index_fill_(0, unused, 0), None, None, None


@dataclass(frozen=True)
class Parts:
    """Rows sorted into parts of one length each.

    Attributes:
        members: the rows of each part, each [b] int64.
        shapes: rows and length of each part; the rows that no member takes stay empty.
    """

    members: tuple[Tensor, ...]
    shapes: tuple[tuple[int, int], ...]

    def with_lengths(self, counts: Tensor) -> "Parts":
        """The same rows for other tokens, of which row r has counts[r]."""
        lengths = [int(counts[rows].max()) for rows in self.members]
        shapes = zip(self.shapes, lengths, strict=True)
        return Parts(self.members, tuple((rows, length) for (rows, _), length in shapes))

    def filled(self, values: Tensor) -> list[Tensor]:
        """[R] a value for each row -> [B] for each part, 0 in rows that no member takes."""
        found = []
        for rows, (count, _) in zip(self.members, self.shapes, strict=True):
            part = values.new_zeros(count)
            part[: len(rows)] = values[rows]
            found.append(part)
        return found


def sort_by_length(counts: Tensor, kind: Tensor) -> Parts:
    """Parts of rows of like length and of the same kind; rows without tokens are in none.

    Args:
        counts: [R] int64, tokens of each row.
        kind: [R] int64, small: rows of different kinds never share a part.
    """
    longest = rounded(int(counts.max()), STEP)
    ends = [0, *(length for length in LENGTHS if length < longest), longest]
    members, shapes = [], []
    for number in kind.unique().tolist():
        for shortest, length in pairwise(ends):
            rows = ((kind == number) & (counts > shortest) & (counts <= length)).nonzero().squeeze(1)
            if len(rows):
                members.append(rows)
                shapes.append((rounded(len(rows), STEP), length))
    return Parts(tuple(members), tuple(shapes))


def lay_ragged(row: Tensor, rows: int, tokens: int, parts: Parts) -> Ragged:
    """A grid of tokens of which every one has a row; those of a row keep their order.

    Args:
        row: [n] int64, the row of each token that is not spare.
        rows: R.
        tokens: N, at least n.
        parts: where the rows are; none has more tokens than its part is long.
    """
    starts, total = row.new_zeros(rows), 0
    for members, (count, length) in zip(parts.members, parts.shapes, strict=True):
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
    return Ragged(place, token.clamp_(min=0), spare, holes, parts.shapes)


def rounded(count: int, step: int) -> int:
    """The least multiple of `step` that is not below `count`."""
    return -(-count // step) * step
