"""How many threads compute, where that must not show in the numbers."""

import contextlib
from collections.abc import Iterator

import torch


@contextlib.contextmanager
def one_thread(device: torch.device) -> Iterator[None]:
    """Compute on one thread of a CPU during the block.

    Sums are split among threads, and rounded accordingly; with one, numbers are the same however many
    processes share a machine.
    """
    before = torch.get_num_threads()
    if device.type != "cpu":
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
