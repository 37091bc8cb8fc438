"""Who does large work, as commands are asked. Nothing here imports more than the standard library."""

from dataclasses import dataclass
from enum import StrEnum

from xfm.config.ranges import check_range

MOST_PROCESSES = 1024
MOST_ROWS = 1_000_000
UNIT_ROWS = 1000
"""Rows of a unit of work where nobody said how many."""


class EngineName(StrEnum):
    """Who does the work: processes of this machine, or Ray tasks."""

    LOCAL = "local"
    RAY = "ray"


@dataclass(frozen=True)
class SharingConfig:
    """How rows are shared among processes and machines, in units of work that can be done by any of them.

    Attributes:
        engine: who does the work. Does not change the result.
        processes: that work, each with a model and, on a CPU, one thread; 0 takes one a core, with a GPU
            one, of Ray all that the cluster has room for. Does not change the result.
        unit_size: rows of a unit; 0 takes 1000, of a collection 256. A row is computed together with others
            of its unit alone.
    """

    engine: EngineName = EngineName.LOCAL
    processes: int = 0
    unit_size: int = 0

    def __post_init__(self) -> None:
        check_range("processes", self.processes, 0, MOST_PROCESSES)
        check_range("unit_size", self.unit_size, 0, MOST_ROWS)

    @property
    def asked(self) -> bool:
        """Whether anything was."""
        return self != SharingConfig()

    @property
    def rows(self) -> int:
        """Of a unit."""
        return self.unit_size or UNIT_ROWS
