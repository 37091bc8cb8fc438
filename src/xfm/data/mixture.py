"""A weighted mixture of corpora with random access: position -> (corpus, index).

Which corpus: places come in blocks of 10,000 in which every corpus has a fixed number, shuffled by (seed,
block). Which record: the n-th place of a corpus takes the n-th record of a shuffled epoch, so that an epoch
shows every record once. Both are pure functions of (seed, position); nothing is stored, and a run may start
anywhere.

Records that belong together (twin scenes) are a group: groups are shuffled in place of records, and a place
is as many positions as hold whole groups of every corpus. Without groups a place is one position.
"""

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from xfm.data.rng import mix, scatter

BLOCK = 10_000
_ROUNDS = 6


def apportion(weights: Sequence[float], places: int = BLOCK) -> list[int]:
    """Whole numbers that sum to `places` in proportion to `weights` (largest remainders, at least one each).

    Raises:
        ValueError: when a weight is not positive or there are more corpora than places.
    """
    if not weights or min(weights) <= 0 or len(weights) > places:
        raise ValueError("weights must be positive")
    shares = [weight / sum(weights) * places for weight in weights]
    quotas = [max(1, int(share)) for share in shares]
    by_remainder = sorted(range(len(shares)), key=lambda i: (quotas[i] - shares[i], i))
    for turn in range(places - sum(quotas)):
        quotas[by_remainder[turn % len(quotas)]] += 1
    while sum(quotas) > places:  # the minimum of one took places from the others
        quotas[quotas.index(max(quotas))] -= 1
    return quotas


def shuffled(rank: int, size: int, key: int) -> int:
    """The image of `rank` under a pseudo-random permutation of 0..size-1 chosen by `key`.

    A Feistel network on the smallest even number of bits that holds `size`, walked until it lands inside
    (Black and Rogaway 2002, "Ciphers with arbitrary finite domains"): constant memory whatever the size.
    """
    if size < 2:
        return 0
    keys = _round_keys(key)
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    while True:
        left, right = rank >> half, rank & low
        for turn in range(_ROUNDS):
            left, right = right, left ^ (scatter(right ^ keys[turn]) & low)
        rank = left << half | right
        if rank < size:
            return rank


@lru_cache(maxsize=256)
def _round_keys(key: int) -> tuple[int, ...]:
    return tuple(mix(key, turn) for turn in range(_ROUNDS))


class Mixture:
    """The order in which a stream visits its corpora.

    Args:
        sizes: records in each corpus.
        weights: shares of the stream, relative to each other.
        seed: seed of the stream's order.
        groups: of each corpus, how many records in a row belong together; its size is a multiple of that.
    """

    def __init__(
        self, sizes: Sequence[int], weights: Sequence[float], seed: int, groups: Sequence[int] = ()
    ) -> None:
        if len(sizes) != len(weights) or min(sizes) < 1:
            raise ValueError("a mixture needs one weight for each corpus, and no corpus may be empty")
        self.groups = tuple(groups) or (1,) * len(sizes)
        if any(size % group for size, group in zip(sizes, self.groups, strict=True)):
            raise ValueError("a corpus must hold whole groups")
        self.sizes = tuple(sizes)
        self.quotas = tuple(apportion(weights))
        self.seed = seed
        self._place = math.lcm(*self.groups)  # positions

    def locate(self, position: int) -> tuple[int, int]:
        """Corpus and record index at `position` (from 0, without end)."""
        place, offset = divmod(position, self._place)
        if len(self.sizes) == 1:
            corpus, rank = 0, place
        else:
            block, here = divmod(place, BLOCK)
            corpora, ranks = _block(self.quotas, self.seed, block)
            corpus = int(corpora[here])
            rank = block * self.quotas[corpus] + int(ranks[here])
        number, member = divmod(rank * self._place + offset, self.groups[corpus])
        epoch, number = divmod(number, size := self.sizes[corpus] // self.groups[corpus])
        return corpus, shuffled(number, size, mix(self.seed, corpus, epoch)) * self.groups[corpus] + member


@lru_cache(maxsize=16)
def _block(quotas: tuple[int, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Corpus at each place of a block, and how many places of that corpus come before it."""
    corpora = np.repeat(np.arange(len(quotas)), quotas)
    order = np.random.Generator(np.random.Philox(key=mix(seed, -1, block))).permutation(BLOCK)
    corpora = corpora[order]
    ranks = np.empty(BLOCK, dtype=np.int64)
    for corpus, quota in enumerate(quotas):
        ranks[corpora == corpus] = np.arange(quota)
    return corpora, ranks
