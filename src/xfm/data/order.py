"""The order in which an epoch visits things, as functions of a place in it and a key: nothing is stored."""

from dataclasses import dataclass
from functools import lru_cache

from xfm.data.rng import mix, scatter

_ROUNDS = 6


def shuffled(rank: int, size: int, key: int) -> int:
    """The image of `rank` under a pseudo-random permutation of 0..size-1 chosen by `key`: a Feistel network
    on the smallest even number of bits that holds `size`, walked until it lands inside (Black and Rogaway
    2002): constant memory whatever the size."""
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


@dataclass(frozen=True)
class Runs:
    """An order for storage that is slow to reach: all runs of `length` neighbours in a shuffled order,
    `window` runs at a time, shuffled within the window. Each run is done with before the next window
    begins."""

    length: int
    window: int

    def shuffled(self, rank: int, size: int, key: int) -> int:
        """The image of `rank` under the permutation of 0..size-1 that `key` chooses."""
        layout = _RunLayout(self.length, size, key)
        width = self.window * self.length
        number = rank // width
        # The short run moves what follows it forward, by less than a window.
        number += rank >= layout.start((number + 1) * self.window)
        start, stop = (layout.start(turn * self.window) for turn in (number, number + 1))
        return layout.thing(start + shuffled(rank - start, stop - start, mix(key, number + 1)))

    def around(self, thing: int, size: int) -> range:
        """The run that a thing is in."""
        first = thing // self.length * self.length
        return range(first, min(first + self.length, size))


@dataclass(frozen=True)
class _RunLayout:
    length: int
    size: int
    key: int

    @property
    def short(self) -> int:
        """Turn of the short run; beyond all others where there is none."""
        whole, rest = divmod(self.size, self.length)
        return mix(self.key, -1) % (whole + 1) if rest else whole

    def start(self, turn: int) -> int:
        """Where the run of a turn begins; the end where there is no such turn."""
        missing = self.length - self.size % self.length if turn > self.short else 0
        return min(turn * self.length - missing, self.size)

    def thing(self, place: int) -> int:
        turn = place // self.length
        turn += place >= self.start(turn + 1)
        whole = self.size // self.length
        others = turn - (turn > self.short)
        run = whole if turn == self.short else shuffled(others, whole, mix(self.key, 0))
        return run * self.length + place - self.start(turn)
