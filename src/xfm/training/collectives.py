"""Rows of a batch that several processes share, gathered and exchanged with their gradients."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from xfm.objectives.global_batch import ProcessGroup
from xfm.training import distributed
from xfm.training.distributed import collective, rank, world


class DistributedGroup(ProcessGroup):
    """The processes of a group of several."""

    def __init__(self) -> None:
        self.rank, self.world = rank(), world()

    def table(self, counts: Tensor) -> list[list[int]]:
        """[K] int64 of every process, as numbers."""
        found = [torch.empty_like(counts) for _ in range(self.world)]
        with collective("the gathering of counts (all_gather)"):
            dist.all_gather(found, counts)
        return torch.stack(found).tolist()

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Rows of all processes, see `ProcessGroup.gather`."""
        return gather_rows(rows, counts)

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes."""
        value = value.detach().clone()
        with collective("a sum over the processes (all_reduce)"):
            dist.all_reduce(value)
        return value

    def exchange(self, rows: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Rows from process to process, see `ProcessGroup.exchange`."""
        return _Exchange.apply(rows, tuple(sent), tuple(received))  # pyright: ignore[reportReturnType]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, counts: Sequence[int]) -> Tensor:
        ctx.start, ctx.count = sum(counts[: rank()]), len(rows)
        padded = rows.new_zeros(max(counts), *rows.shape[1:])
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in counts]
        with collective("the gathering of rows (all_gather)"):
            dist.all_gather(parts, padded)
        return torch.cat([part[:count] for part, count in zip(parts, counts, strict=True)])

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        grad = grads[0].clone(memory_format=torch.contiguous_format)
        with collective("the gradient of gathered rows (all_reduce)"):
            dist.all_reduce(grad)
        return grad[ctx.start : ctx.start + ctx.count], None


class _Exchange(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sent: tuple[int, ...], received: tuple[int, ...]) -> Tensor:
        ctx.splits = sent, received
        return _all_to_all(rows, sent, received)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None]:
        sent, received = ctx.splits
        return _all_to_all(grads[0], received, sent), None, None


def _all_to_all(rows: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
    found = rows.new_empty(sum(received), *rows.shape[1:])
    give, take = (tensor.contiguous().flatten(1).view(torch.uint8) for tensor in (rows, found))
    with collective("the exchange of rows (all_to_all)"):
        dist.all_to_all_single(take, give, list(received), list(sent))
    return found


def _row_counts(rows: Tensor) -> list[int]:
    own = torch.tensor([len(rows)], device=rows.device)
    return [count for (count,) in DistributedGroup().table(own)]


def rows_before(rows: Tensor) -> int:
    """How many rows the processes before this one have; [B, ...] are its own."""
    return sum(_row_counts(rows)[: rank()]) if world() > 1 else 0


def gather_rows(rows: Tensor, counts: Sequence[int] | None = None) -> Tensor:
    """Rows [B, ...] of all processes in the order of the ranks, [sum of B, ...]; B may differ (`counts`). The
    backward pass sums the gradient of all processes; the published code drops it, so that encoder gradients
    are 1 / world of the right value."""
    if world() == 1:
        return rows
    counts = _row_counts(rows) if counts is None else counts
    return _Gather.apply(rows, tuple(counts))  # pyright: ignore[reportReturnType]


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
    """Result of work that all processes do, the first before the others; its UserError is raised in all, said
    once."""
    own: list[T] = []
    distributed.on_first(lambda: own.append(work()))
    return own[0] if own else work()


def balanced(counts: Sequence[float], device: torch.device) -> list[Tensor | float]:
    """Factors, 1 in the mean over all processes and batches, with which the mean of the scaled losses is the
    mean over everything that `counts` (rows, tokens) number."""
    if distributed.world() == 1:
        return [len(counts) * count / sum(counts) for count in counts]
    own = torch.tensor(counts, dtype=torch.float64, device=device)
    mean = distributed.mean(own.mean())
    return list((own / mean).float())
