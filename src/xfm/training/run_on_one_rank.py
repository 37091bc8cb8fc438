"""One piece of work shared by several processes: who does what, and what comes of it on every process.

A single process does all of it, and gets its own input back.
"""

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from xfm.training import distributed

T = TypeVar("T")


def part(count: int, place: int, parts: int) -> slice:
    """Those of `count` things that are the part `place` of `parts`; their sizes differ by one at most."""
    return slice(place * count // parts, (place + 1) * count // parts)


def own_part(count: int) -> slice:
    """This process's part of `count` things."""
    return part(count, distributed.rank(), distributed.world())


def in_order(values: Sequence[T]) -> list[T]:
    """What all processes made of their parts, as one list in the order of the things; picklable values."""
    return [value for own in distributed.collect(list(values)) for value in own]


def in_turn(work: Callable[[], T]) -> T:
    """What the work gives, which every process does, the first one before the others.

    What is wrong for all of them is then said once.

    Raises:
        UserError: the work raised it, in the first process for all.
    """
    own: list[T] = []
    distributed.on_first(lambda: own.append(work()))
    return own[0] if own else work()


def balanced(counts: Sequence[float], device: torch.device) -> list[Tensor | float]:
    """Factors for the losses of this process's batches of a step, whose mean is then that of the whole batch.

    The mean over processes and batches of `factor * loss` is the mean of the losses over what they count.

    Args:
        counts: how much (rows, tokens) each of them is the mean of.
        device: where the losses are.

    Returns:
        Factors, 1 in the mean over all processes and batches.
    """
    if distributed.world() == 1:
        return [len(counts) * count / sum(counts) for count in counts]
    own = torch.tensor(counts, dtype=torch.float64, device=device)
    mean = distributed.mean(own.mean())
    return list((own / mean).float())
