"""A list of answers as a tree of their prefixes: what several answers begin with is computed once."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True)
class Edges:
    """Where prefixes lead: those of prefix p are count[p] in a row, from start[p] on.

    Attributes:
        start, count: [P] int64.
    """

    start: Tensor
    count: Tensor

    @classmethod
    def of(cls, owner: Tensor, owners: int) -> Self:
        """Of the prefix [E] that each edge leaves, which never falls; P of them."""
        count = torch.bincount(owner, minlength=owners)
        return cls(count.cumsum(0) - count, count)

    def of_rows(self, prefix: Tensor) -> tuple[Tensor, Tensor]:
        """[R] the prefix of each row -> for all its edges the row and the edge, both [n] int64."""
        count = self.count[prefix]
        row = torch.arange(len(prefix), device=prefix.device).repeat_interleave(count)
        rank = torch.arange(len(row), device=prefix.device) - (count.cumsum(0) - count)[row]
        return row, self.start[prefix][row] + rank


@dataclass(frozen=True)
class Level:
    """The P distinct prefixes of L tokens of all longer answers, in lexicographic order.

    Attributes:
        ids: [P, L] int64.
        longer: to the prefixes of the next level.
        ends: to the answers that have one token more than the prefix.
        answer, token: [E] int64, the number and the last token of each of those answers.
    """

    ids: Tensor
    longer: Edges
    ends: Edges
    answer: Tensor
    token: Tensor


def prefix_tree(ids: Tensor, mask: Tensor) -> list[Level]:
    """The levels of a list of answers, from the begin token on, which all of them share.

    Args:
        ids: [A, L] int64, begin and end token included, padded.
        mask: [A, L] bool.
    """
    lengths, levels = mask.sum(1), list[Level]()
    parents = ids.new_zeros(len(ids))  # the prefix of each answer in the level before
    for length in range(1, int(lengths.max())):
        inside = (lengths > length).nonzero().squeeze(1)
        prefixes, place = ids[inside, :length].unique(dim=0, return_inverse=True)
        if levels:
            before = prefixes.new_zeros(len(prefixes)).index_copy_(0, place, parents[inside])
            last = levels[-1]
            levels[-1] = Level(last.ids, Edges.of(before, len(last.ids)), last.ends, last.answer, last.token)
        parents = parents.index_copy(0, inside, place)
        ending = (lengths == length + 1).nonzero().squeeze(1)
        owner, order = parents[ending].sort(stable=True)
        answer = ending[order]
        none = Edges.of(prefixes.new_zeros(0), len(prefixes))
        levels.append(Level(prefixes, none, Edges.of(owner, len(prefixes)), answer, ids[answer, length]))
    return levels
