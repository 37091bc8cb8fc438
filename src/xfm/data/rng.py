"""Randomness that depends on (seed, stream, position) only.

Every sample gets its own counter-based generator, so that a batch is the same whichever process builds it and
wherever a run is resumed.
"""

from enum import IntEnum

import numpy as np

_MASK = (1 << 64) - 1


class Stream(IntEnum):
    """What the random numbers are for; each has its own sequence."""

    TEXT = 0
    IMAGE = 1
    PAIR = 2
    REGION = 3


def mix(*values: int) -> int:
    """A well-spread 64-bit hash of integers (splitmix64 finaliser, chained)."""
    state = 0x9E3779B97F4A7C15
    for value in values:
        state = (state ^ (value & _MASK)) + 0x9E3779B97F4A7C15 & _MASK
        state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
        state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
        state ^= state >> 31
    return state


def sample_generator(seed: int, stream: Stream, position: int) -> np.random.Generator:
    """The generator of one sample: Philox keyed by (seed, stream) and the position in the stream."""
    key = np.array([mix(seed, int(stream)), position], dtype=np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
