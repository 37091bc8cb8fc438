"""Layouts of tokens in rows for attention; all other layers treat each token by itself.

`Whole` is a padded batch, `Joined` several of its texts in a row; `Ragged` lays tokens from anywhere into
rows of few lengths, so that little of attention is padding.
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
    """Q padded texts of T tokens, up to G in a row, other places zero. `place` [Q] int64 is each text's
    among the R * G; `shape` is R, G, T."""

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


Grid = Whole | Joined | Ragged
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


@dataclass(frozen=True)
class Parts:
    """Rows sorted into parts of one length: `members` the rows [b] int64 of each part, `shapes` its rows
    and length; rows without a member stay empty."""

    members: tuple[Tensor, ...]
    shapes: tuple[tuple[int, int], ...]

    def with_lengths(self, counts: Tensor) -> "Parts":
        """The same rows for other tokens: counts[r] of row r."""
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
    """Parts of rows of like length and the same `kind` [R] int64, given `counts` [R] int64 of tokens; rows
    without tokens are in none."""
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
    """Layout of N tokens, given the row [n] int64 of each that is not spare; order within a row stays."""
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
