"""Texts in classes of like length."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

_BATCHES = 8
"""Batches that a class has at least, if there are so many: shared evenly, each is then about full."""
_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class LengthClasses:
    """The texts of a corpus in classes, from short to long.

    Attributes:
        of: [N] uint8, the class of every record; every class has one.
        longest: tokens that a text of each class has at most.
    """

    of: np.ndarray
    longest: Sequence[int]

    @classmethod
    def joined(cls, lengths: np.ndarray, tokens: Sequence[int], budget: int) -> "LengthClasses":
        """Lengths that follow one another, joined until they have texts for some batches.

        Args:
            lengths: [N] uint8, the length of each text, a place in `tokens`.
            tokens: what the lengths are, from short to long.
            budget: tokens of a batch.
        """
        texts = counts_in_blocks(lengths, len(tokens), _AT_ONCE).sum(1)
        found = np.zeros(len(tokens), np.uint8)
        longest, inside = list[int](), 0
        for length in np.flatnonzero(texts).tolist():
            if not longest or inside * longest[-1] >= _BATCHES * budget:
                longest.append(0)
                inside = 0
            longest[-1], inside = tokens[length], inside + int(texts[length])
            found[length] = len(longest) - 1
        if len(longest) > 1 and inside * longest[-1] < _BATCHES * budget:
            del longest[-2]
            found[found == len(longest)] = len(longest) - 1
        return cls(found[lengths], longest)


def counts_in_blocks(values: np.ndarray, kinds: int, block: int) -> np.ndarray:
    """How many of each value there are in each block.

    A part of the values at a time: counting makes eight bytes of each.

    Args:
        values: [N] uint8, below `kinds`.
        kinds: C, how many values there may be.
        block: so many values that follow one another are a block; the last may be short.

    Returns:
        [C, U] int64.
    """
    together = max(1, _AT_ONCE // block)
    found = []
    for start in range(0, len(values), together * block):
        part = values[start : start + together * block]
        blocks = -(-len(part) // block)
        places = np.arange(len(part)) // block * kinds + part
        found.append(np.bincount(places, minlength=blocks * kinds).reshape(blocks, kinds))
    return np.concatenate(found).T
