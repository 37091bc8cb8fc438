"""Encoded pictures or texts that wait for fusion, in memory or on disk."""

from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.files import writing

_AS_INTEGERS = {torch.bfloat16: np.int16, torch.float16: np.int16, torch.float32: np.int32}
"""NumPy has no bfloat16: bits are kept as they are."""


class States:
    """Rows of states, each of a length of its own; without padding, so that any number of rows fits.

    Args:
        folder: where they lie in a file without a name that goes with this object. Reading copies the rows
            asked for and maps nothing for longer, so that the process does not grow by what it has read.
            None keeps them in memory, on the device that they come from.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._file = None if folder is None else TemporaryFile(dir=folder)  # noqa: SIM115
        self._parts: list[Tensor] = []  # what is in memory; of a file only a row of none, for dtype and width
        self._ends: list[int] = [0]
        self._starts: NDArray[np.int64] | None = None

    def __len__(self) -> int:
        return len(self._ends) - 1

    @property
    def lengths(self) -> NDArray[np.int64]:
        """[N] states of each row."""
        return np.diff(np.asarray(self._ends, dtype=np.int64))

    @property
    def bytes_in_memory(self) -> int:
        """What the rows take; next to nothing where they lie in a file."""
        return sum(part.nbytes for part in self._parts)

    def append(self, states: Tensor, mask: Tensor | None = None) -> None:
        """Add rows.

        Args:
            states: [N, T, D] bfloat16, float16 or float32, dtype and width the same for all rows.
            mask: [N, T] bool, the real ones, which stand first; None keeps all T.

        Raises:
            UserError: the disk is full.
        """
        if self._parts and states.dtype != self._parts[0].dtype:
            raise ValueError(f"states of {states.dtype} among those of {self._parts[0].dtype}")
        lengths = [states.shape[1]] * len(states) if mask is None else mask.sum(dim=1).tolist()
        kept = states.flatten(0, 1) if mask is None else states[mask]  # [sum of lengths, D]
        if self._file is None or self.folder is None:
            self._parts.append(kept)
        else:
            self._parts = self._parts or [kept[:0].cpu()]
            with writing(self.folder, "or name another folder"):
                self._file.write(kept.cpu().contiguous().view(torch.uint8).numpy().tobytes())
                self._file.flush()
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
        assert self._parts, "nothing was appended"
        if self._starts is None:
            self._starts = np.asarray(self._ends, dtype=np.int64)
        first, lengths = self._starts[rows], self._starts[rows + 1] - self._starts[rows]
        steps = np.arange(lengths.max())
        places = first[:, None] + np.minimum(steps, lengths[:, None] - 1)  # [N, T]
        found = self._in_memory(places) if self._file is None else self._on_disk(self._file, places)
        return found, torch.from_numpy(steps < lengths[:, None]).to(found.device)

    def _in_memory(self, places: NDArray[np.int64]) -> Tensor:
        if len(self._parts) > 1:
            self._parts = [torch.cat(self._parts)]
        return self._parts[0][torch.from_numpy(places).to(self._parts[0].device)]

    def _on_disk(self, file: IO[bytes], places: NDArray[np.int64]) -> Tensor:
        dtype, shape = self._parts[0].dtype, (self._ends[-1], self._parts[0].shape[1])
        everything = np.memmap(file, dtype=_AS_INTEGERS[dtype], mode="r", shape=shape)
        return torch.from_numpy(np.asarray(everything[places])).view(dtype)
