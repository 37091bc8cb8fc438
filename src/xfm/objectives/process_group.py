"""The processes that share a step, as far as objectives need one another's rows."""

from collections.abc import Callable, Sequence

from torch import Tensor

Gather = Callable[[Tensor], Tensor]
"""Concatenates a tensor over all processes, with gradient; the identity on one process."""


class ProcessGroup:
    """A process that is alone: all rows are its own. see `DistributedGroup` of the trainings.

    Attributes:
        rank: index of this process.
        world: number of processes.
    """

    rank: int = 0
    world: int = 1

    def table(self, counts: Tensor) -> list[list[int]]:
        """[K] int64 of every process, as numbers."""
        return [counts.tolist()]

    def gather(self, rows: Tensor, counts: Sequence[int]) -> Tensor:
        """Rows of all processes in the order of the ranks, with gradient.

        Args:
            rows: [B, ...].
            counts: of each process, how many it has.

        Returns:
            [sum of B, ...].
        """
        return rows

    def total(self, value: Tensor) -> Tensor:
        """The sum over the processes, without gradient."""
        return value

    def exchange(self, rows: Tensor, sent: Sequence[int], received: Sequence[int]) -> Tensor:
        """Give every process some rows, with gradient.

        Args:
            rows: [B, ...], those for the first process before those for the second one, and so on.
            sent: how many go to each process.
            received: how many come from each.

        Returns:
            [sum of received, ...] in the order of the ranks.
        """
        return rows
