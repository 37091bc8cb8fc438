"""A clock that tests set."""

from collections.abc import Iterable
from itertools import accumulate, chain, repeat


class Clock:
    """Gives seconds: each step takes as long as it is told, the last of them for ever.

    Args:
        steps: seconds of the steps, in their order.
        began: what the clock shows at first.
    """

    def __init__(self, steps: Iterable[float], began: float = 1000.0) -> None:
        *first, last = steps
        self._times = accumulate(chain(first, repeat(last)), initial=began)
        self.now = began
        self.asked = 0

    def __call__(self) -> float:
        """The first two answers are the same: the run begins, and with it its first step."""
        self.asked += 1
        if self.asked != 2:
            self.now = next(self._times)
        return self.now
