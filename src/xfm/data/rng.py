"""Randomness that depends on (seed, stream, position) only.

Every sample gets its own counter-based generator, so that a batch is the same whichever process builds it and
wherever a run is resumed.
"""

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.random.bit_generator import ISeedSequence

_MASK = (1 << 64) - 1
_GOLDEN = 0x9E3779B97F4A7C15


def scatter(state: int) -> int:
    """A well-spread 64-bit hash of one integer (splitmix64, Steele et al. 2014)."""
    state = state + _GOLDEN & _MASK
    state = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 & _MASK
    state = (state ^ (state >> 27)) * 0x94D049BB133111EB & _MASK
    return state ^ (state >> 31)


@lru_cache(maxsize=1024)  # every sample asks for the same few, of its stream, corpus and epoch
def mix(*values: int) -> int:
    """A well-spread 64-bit hash of several integers; their order matters."""
    state = _GOLDEN
    for value in values:
        state = scatter(state ^ (value & _MASK))
    return state


def sample_generator(seed: int, stream: int, position: int) -> np.random.Generator:
    """The generator of one sample: Philox keyed by (seed, stream's number) and the position in the stream."""
    key = _Key(mix(seed, stream), position)
    return np.random.Generator(np.random.Philox(key))  # pyright: ignore[reportArgumentType] numpy's own type


class _Key(ISeedSequence):
    """The key of a Philox as what seeds it; given as its `key`, numpy asks the system for a seed as well."""

    def __init__(self, *words: int) -> None:
        self._words = np.array(words, dtype=np.uint64)

    def generate_state(self, n_words: int, dtype: Any = np.uint64) -> np.ndarray:
        return self._words
