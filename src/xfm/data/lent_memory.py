"""Memory in which loader processes hand over their batches; a block is used again once its batch is gone."""

import contextlib
import mmap
import os
import weakref
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

_BLOCKS = 4
"""Of each loader: two batches of it are under way, and training has one or two."""
_BYTES = 64 << 20
"""Of a block. Pages take memory once they are written."""


@dataclass(frozen=True)
class Lent:
    """A block that a batch has.

    Attributes:
        number: of the block.
        size: bytes of it that the batch takes.
    """

    number: int
    size: int


class LentMemory:
    """Blocks of memory that this process shares with the loaders that it forks.

    Memory of its own for each batch takes longer than its bytes do: the system zeroes its pages, both sides
    come upon them one by one, and this one has to ask the loader for the file. Loaders that are not forked
    have no part in it.

    Args:
        loaders: how many there are.
    """

    def __init__(self, loaders: int) -> None:
        self._owner, count = os.getpid(), loaders * _BLOCKS
        self._memory: mmap.mmap | None = None
        with contextlib.suppress(OSError):  # a system that promises no more memory than it has
            self._memory = mmap.mmap(-1, count * _BYTES) if count else None
        self._taken = mmap.mmap(-1, max(1, count))
        """A byte for each block: 1 from when a loader fills it until this process has let go of it."""

    def __getstate__(self) -> dict[str, Any]:
        return {"_memory": None}

    def lend(self, loader: int, size: int) -> tuple[Lent, Tensor] | None:
        """A free block of a loader, which fills it: [size] uint8; None where none is free or large enough."""
        if self._memory is None or not 0 < size <= _BYTES:
            return None
        number = self._taken.find(b"\0", loader * _BLOCKS, (loader + 1) * _BLOCKS)
        if number < 0:
            return None
        self._taken[number] = 1
        lent = Lent(number, size)
        return lent, torch.from_numpy(self._array(lent))

    def received(self, lent: Lent) -> Tensor:
        """[size] uint8, in the process that made the memory: once no tensor shares it, the block is free."""
        array = self._array(lent)
        weakref.finalize(array, self._take_back, lent.number).atexit = False
        return torch.from_numpy(array)

    def _array(self, lent: Lent) -> np.ndarray:
        assert self._memory is not None
        return np.frombuffer(self._memory, np.uint8, lent.size, lent.number * _BYTES)

    def _take_back(self, number: int) -> None:
        if os.getpid() == self._owner:  # what a process forked later lets go of is still in use here
            self._taken[number] = 0
