"""Random draws, equal on every machine: integer arithmetic on the Mersenne twister's specified bits."""

import hashlib
import random
from collections.abc import Sequence
from typing import TypeVar

T = TypeVar("T")


class Rng:
    """Integer draws from a stream named by the key."""

    def __init__(self, *key: int | str) -> None:
        digest = hashlib.sha256("/".join(map(str, key)).encode()).digest()
        self._bits = random.Random(int.from_bytes(digest, "big")).getrandbits

    def below(self, n: int) -> int:
        """A uniform integer in [0, n)."""
        return (self._bits(32) * n) >> 32

    def chance(self, percent: int) -> bool:
        """True in `percent` of 100 draws."""
        return self.below(100) < percent

    def pick(self, items: Sequence[T]) -> T:
        """A uniform item; `items` must not be empty."""
        return items[(self._bits(32) * len(items)) >> 32]

    def weighted(self, items: Sequence[tuple[T, int]]) -> T:
        """An item of (item, integer weight) pairs, in proportion to its weight."""
        left = self.below(sum(weight for _, weight in items))
        for item, weight in items:
            left -= weight
            if left < 0:
                return item
        raise ValueError("weights must be positive")

    def shuffled(self, items: Sequence[T]) -> list[T]:
        """A shuffled copy (Fisher-Yates)."""
        out = list(items)
        for i in range(len(out) - 1, 0, -1):
            j = self.below(i + 1)
            out[i], out[j] = out[j], out[i]
        return out

    def sample(self, items: Sequence[T], k: int) -> list[T]:
        """`k` different items in random order; all of them where there are fewer."""
        return self.shuffled(items)[:k]
