"""A weighted mixture of corpora with random access: position -> (corpus, index). Corpora are drawn in blocks
of 10,000 places, in which every corpus has a fixed number, shuffled by (seed, block). The n-th place of a
corpus takes the n-th record of a shuffled epoch (`xfm.data.mixture`). Both are pure functions of (seed,
position): nothing is stored, and a run may start anywhere. Records that belong together (twin scenes) are a
group: groups are shuffled, and a place is as many positions as hold whole groups of every corpus."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from xfm.data.rng import mix, scatter

_ROUNDS = 6


def shuffled(rank: int, size: int, key: int) -> int:
    """The image of `rank` under a pseudo-random permutation of 0..size-1 chosen by `key`: a Feistel network
    on the smallest even number of bits that holds `size`, walked until it lands inside (Black, Rogaway)."""
    if size < 2:
        return 0
    half = max(1, ((size - 1).bit_length() + 1) // 2)
    low = (1 << half) - 1
    while True:
        left, right = rank >> half, rank & low
        for turn in range(_ROUNDS):
            left, right = right, left ^ (scatter(right ^ mix(key, turn)) & low)
        rank = left << half | right
        if rank < size:
            return rank


@dataclass(frozen=True)
class RunOrder:
    """An order for storage that is slow to reach: all runs of `length` neighbours in a shuffled order,
    `window` runs at a time, shuffled within the window, which is done before the next begins."""

    length: int
    window: int

    def shuffled(self, rank: int, size: int, key: int) -> int:
        """The image of `rank` under the permutation of 0..size-1 that `key` chooses."""
        whole, rest = divmod(size, self.length)
        short = mix(key, -1) % (whole + 1) if rest else whole  # the turn of the run that has fewer

        def start(turn: int) -> int:
            return min(turn * self.length - (self.length - rest if turn > short else 0), size)

        number = rank // (self.window * self.length)
        # The short run moves what follows it forward, by less than a window.
        number += rank >= start((number + 1) * self.window)
        first, stop = (start(turn * self.window) for turn in (number, number + 1))
        place = first + shuffled(rank - first, stop - first, mix(key, number + 1))
        turn = place // self.length
        turn += place >= start(turn + 1)
        run = whole if turn == short else shuffled(turn - (turn > short), whole, mix(key, 0))
        return run * self.length + place - start(turn)

    def around(self, thing: int, size: int) -> range:
        """The run that a thing is in."""
        first = thing // self.length * self.length
        return range(first, min(first + self.length, size))


BLOCK = 10_000


def apportion(weights: Sequence[float], places: int = BLOCK) -> list[int]:
    """Whole numbers that sum to `places`, at least one each, by `weights` and largest remainders."""
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


class Mixture:
    """The order in which a stream visits its corpora; without `runs` any record may follow any other."""

    def __init__(
        self,
        sizes: Sequence[int],
        weights: Sequence[float],
        seed: int,
        groups: Sequence[int] = (),
        runs: Sequence[RunOrder | None] = (),
    ) -> None:
        if len(sizes) != len(weights) or min(sizes) < 1:
            raise ValueError("a mixture needs one weight for each corpus, and no corpus may be empty")
        self.groups = tuple(groups) or (1,) * len(sizes)
        if any(size % group for size, group in zip(sizes, self.groups, strict=True)):
            raise ValueError("a corpus must hold whole groups")
        self.sizes = tuple(sizes)
        self._runs = tuple(
            run and replace(run, length=max(1, run.length // group))  # in groups
            for run, group in zip(runs or [None] * len(sizes), self.groups, strict=True)
        )
        self.quotas = tuple(apportion(weights))
        self.seed = seed
        self.group = math.lcm(*self.groups)
        """Positions of a place: so many that follow one another hold whole groups of each corpus."""

    def locate(self, position: int) -> tuple[int, int]:
        """Corpus and record index at `position` (from 0, without end)."""
        place, offset = divmod(position, self.group)
        if len(self.sizes) == 1:
            corpus, rank = 0, place
        else:
            block, here = divmod(place, BLOCK)
            corpora, ranks = _block(self.quotas, self.seed, block)
            corpus = int(corpora[here])
            rank = block * self.quotas[corpus] + int(ranks[here])
        # Groups of the corpus that came before, in this epoch `number`, and the place in the group.
        before, member = divmod(rank * self.group + offset, self.groups[corpus])
        size = self.sizes[corpus] // self.groups[corpus]
        epoch, number = divmod(before, size)
        order = shuffled if (run := self._runs[corpus]) is None else run.shuffled
        return corpus, order(number, size, mix(self.seed, corpus, epoch)) * self.groups[corpus] + member

    def run(self, corpus: int, index: int) -> range | None:
        """The records of a corpus that are read together with one of them; None where no others are."""
        if (run := self._runs[corpus]) is None:
            return None
        group = self.groups[corpus]
        around = run.around(index // group, self.sizes[corpus] // group)
        return range(around.start * group, around.stop * group)


@lru_cache(maxsize=16)
def _block(quotas: tuple[int, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Corpus at each place of a block, and how many places of that corpus come before it."""
    corpora = np.repeat(np.arange(len(quotas)), quotas)
    corpora = corpora[np.random.Generator(np.random.Philox(key=mix(seed, -1, block))).permutation(BLOCK)]
    ranks = np.empty(BLOCK, dtype=np.int64)
    for corpus, quota in enumerate(quotas):
        ranks[corpora == corpus] = np.arange(quota)
    return corpora, ranks
