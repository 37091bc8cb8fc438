"""A share of units of work: what one process of a Slurm array, or of any such set of processes, does."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from xfm.engines.base import Executor, Units
from xfm.errors import UserError

_MOST = 1_000_000


@dataclass(frozen=True)
class ArrayPlace:
    """Which of how many processes this one is.

    Attributes:
        place: from 0.
        count: of the processes.
    """

    place: int
    count: int

    @classmethod
    def parse(cls, text: str) -> "ArrayPlace":
        """Read `3/16`, the fourth of sixteen: counted from 0, as `$SLURM_ARRAY_TASK_ID` is with --array=0-15.

        Raises:
            UserError: it is none.
        """
        found = re.fullmatch(r"(\d{1,7})/(\d{1,7})", text.strip())
        if found and int(found[1]) < int(found[2]) <= _MOST:
            return cls(int(found[1]), int(found[2]))
        raise UserError(
            f"--array is {text!r}: give PLACE/COUNT with places from 0, such as 0/16 to 15/16 "
            '(--array "$SLURM_ARRAY_TASK_ID/16" with #SBATCH --array=0-15)'
        )


class ArrayMember(Executor):
    """Does every n-th unit, by the unit's number, so that shares do not depend on what is made already.

    Args:
        place: which of how many.
        inner: does the share.
    """

    def __init__(self, place: ArrayPlace, inner: Executor) -> None:
        self.place, self.inner = place, inner

    def share(self, numbers: Sequence[int]) -> int:
        """See `Executor.share`."""
        return len(self._mine(numbers))

    def run(self, units: Units, numbers: Sequence[int], after: Callable[[int], None]) -> None:
        """See `Executor.run`."""
        self.inner.run(units, self._mine(numbers), after)

    def _mine(self, numbers: Sequence[int]) -> list[int]:
        return [number for number in numbers if number % self.place.count == self.place.place]
