"""Encoded pictures and texts on disk, for evaluations whose states do not fit into memory."""

from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

_AS_INTEGERS = {torch.bfloat16: np.int16, torch.float16: np.int16, torch.float32: np.int32}
"""NumPy has no bfloat16: bits are kept as they are."""


class StateFile:
    """Rows of states, each of a length of its own, in a file without a name that goes with this object.

    Reading copies the rows asked for and maps nothing for longer, so that the process does not grow by what
    it has read.

    Args:
        folder: on a disk with room for them.
        width: D.
    """

    def __init__(self, folder: Path, width: int) -> None:
        self.width = width
        self._file = TemporaryFile(dir=folder)  # noqa: SIM115
        self._dtype: torch.dtype | None = None
        self._ends: list[int] = [0]
        self._starts: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def bytes(self) -> int:
        """Size of the file."""
        return 0 if self._dtype is None else self._ends[-1] * self.width * self._dtype.itemsize

    def append(self, states: Tensor, mask: Tensor | None = None) -> None:
        """Add rows.

        Args:
            states: [N, T, D] bfloat16, float16 or float32, the same for all rows.
            mask: [N, T] bool, the real ones, which stand first; None keeps all T.
        """
        self._dtype = self._dtype or states.dtype
        if states.dtype != self._dtype:
            raise ValueError(f"states of {states.dtype} among those of {self._dtype}")
        lengths = [states.shape[1]] * len(states) if mask is None else mask.sum(dim=1).tolist()
        kept = states.cpu().flatten(0, 1) if mask is None else states[mask].cpu()  # [sum of lengths, D]
        self._file.write(kept.contiguous().view(torch.uint8).numpy().tobytes())
        for length in lengths:
            self._ends.append(self._ends[-1] + length)
        self._starts = None

    def read(self, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
        """Some rows.

        Args:
            rows: [N] int64.

        Returns:
            States [N, T, D], T the length of the longest, and a mask [N, T] bool of the real ones; what the
            mask leaves out is repeated from the row's last.
        """
        assert self._dtype is not None, "nothing was appended"
        if self._starts is None:
            self._file.flush()
            self._starts = np.asarray(self._ends, dtype=np.int64)
        first, lengths = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        steps = np.arange(lengths.max())
        places = first[:, None] + np.minimum(steps, lengths[:, None] - 1)  # [N, T]
        everything = np.memmap(
            self._file, dtype=_AS_INTEGERS[self._dtype], mode="r", shape=(self._ends[-1], self.width)
        )
        found = torch.from_numpy(np.asarray(everything[places]))
        return found.view(self._dtype), torch.from_numpy(steps < lengths[:, None])
