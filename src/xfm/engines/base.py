"""What every engine can do with units of work, each of which leaves a mark where it is finished.

A unit is a number. What it makes depends on the number and on nothing else, and appears under its final name
when
it is whole: a unit that is done twice, by whomever, is done once. So nobody keeps lists of who does what, and
whatever is killed, the missing units are done when the same work is run again.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Protocol


class Units(Protocol):
    """Numbered units of work; can be pickled, and is small."""

    def make(self, number: int) -> None:
        """Do a unit and leave its mark; the same bytes whoever does it."""
        ...

    def is_made(self, number: int) -> bool:
        """Whether its mark is there."""
        ...


class Executor(ABC):
    """Does units of work."""

    def share(self, numbers: Sequence[int]) -> int:
        """How many of some units are done by this engine."""
        return len(numbers)

    @abstractmethod
    def run(self, units: Units, numbers: Sequence[int], after: Callable[[int], None]) -> None:
        """Do those units that are this engine's share of some.

        Args:
            units: the work.
            numbers: units that are not made.
            after: told the number of each one that was made, in this process, in any order; what it raises
                ends the work.

        Raises:
            UserError: a unit raised it, or what did a unit died.
        """


def missing(units: Units, count: int) -> list[int]:
    """The units of `count` that are not made yet."""
    return [number for number in range(count) if not units.is_made(number)]
