"""Many queries on few memories: how cross-attention shares keys and values.

In a training step some five texts per region attend to the same picture. Copying the picture's keys and
values for each is what the fused GPU kernels want; on a CPU those copies cost more than the attention itself,
so there the queries of a picture are laid side by side and attend to its keys and values where they are. Both
give the same numbers (a test compares them).
"""

from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from xfm.modeling.attention import padding_bias

MOST_PADDING = 3.0
"""Side by side pays while the padded places are at most this many times the queries."""

SIZE_STEP = 4
"""Rows of queries are padded to a multiple of this, so that few shapes occur: kernels are built per shape."""


class Groups(Protocol):
    """A layout of Q queries of T tokens over M memories of K keys."""

    def share(self, memory: Tensor) -> Tensor:
        """[M, K, D] -> the keys and values that `gather`ed queries attend to."""
        ...

    def gather(self, states: Tensor) -> Tensor:
        """[Q, T, D] -> queries in the layout's order."""
        ...

    def scatter(self, states: Tensor) -> Tensor:
        """Undoes `gather`."""
        ...

    def bias(self, visible: Tensor | None) -> Tensor | None:
        """[Q, K] bool visible keys -> what to add to the scores of the gathered queries."""
        ...


@dataclass(frozen=True)
class Copied(Groups):
    """Every query gets its own copy of its memory.

    Attributes:
        memory: [Q] int64, the memory of each query; None if query q has memory q.
    """

    memory: Tensor | None

    def share(self, memory: Tensor) -> Tensor:
        """[M, K, D] -> [Q, K, D]."""
        return memory if self.memory is None else memory.index_select(0, self.memory)

    def gather(self, states: Tensor) -> Tensor:
        """[Q, T, D] -> the same."""
        return states

    def scatter(self, states: Tensor) -> Tensor:
        """[Q, T, D] -> the same."""
        return states

    def bias(self, visible: Tensor | None) -> Tensor | None:
        """[Q, K] bool -> [Q, 1, 1, K]."""
        return None if visible is None else padding_bias(visible)


@dataclass(frozen=True)
class SideBySide(Groups):
    """The queries of a memory lie in one row, padded to the longest row.

    Attributes:
        place: [Q] int64 into the M x G places.
        memories: M.
        size: G, the most queries that a memory has.
        tokens: T.
    """

    place: Tensor
    memories: int
    size: int
    tokens: int

    def share(self, memory: Tensor) -> Tensor:
        """[M, K, D] -> the same."""
        return memory

    def gather(self, states: Tensor) -> Tensor:
        """[Q, T, D] -> [M, G * T, D]."""
        return self._placed(states).view(self.memories, self.size * self.tokens, -1)

    def scatter(self, states: Tensor) -> Tensor:
        """[M, G * T, D] -> [Q, T, D]."""
        return states.reshape(self.memories * self.size, self.tokens, -1).index_select(0, self.place)

    def bias(self, visible: Tensor | None) -> Tensor | None:
        """[Q, K] bool -> [M, 1, G * T, K]."""
        if visible is None:
            return None
        placed = self._placed(padding_bias(visible).flatten(0, 2))  # [M * G, K]
        rows = placed.repeat_interleave(self.tokens, dim=0)
        return rows.view(self.memories, 1, self.size * self.tokens, -1)

    def _placed(self, rows: Tensor) -> Tensor:
        places = rows.new_zeros(self.memories * self.size, *rows.shape[1:])
        return places.index_copy(0, self.place, rows)


def group_queries(memory: Tensor, memories: int, tokens: int) -> Groups:
    """The layout for Q queries of `tokens` tokens, given the memory [Q] of each."""
    if memory.is_cuda or len(memory) <= 2 * memories:  # in the second case nothing is shared
        return Copied(memory)
    side_by_side = lay_side_by_side(memory, memories, tokens)
    padded = side_by_side.memories * side_by_side.size
    return side_by_side if padded <= MOST_PADDING * len(memory) else Copied(memory)


def lay_side_by_side(memory: Tensor, memories: int, tokens: int) -> SideBySide:
    """`SideBySide` for Q >= 1 queries."""
    counts = torch.bincount(memory, minlength=memories)
    size = -(-int(counts.max()) // SIZE_STEP) * SIZE_STEP
    order = memory.argsort(stable=True)
    first = counts.cumsum(0) - counts  # where each memory's queries start in that order
    ordered = memory[order]
    rank = torch.arange(len(memory), device=memory.device) - first[ordered]
    place = torch.empty_like(memory)
    place[order] = ordered * size + rank
    return SideBySide(place, memories, size, tokens)
