"""How long what waits will probably take: what each kind of work has cost lately, times its items."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

_FADING = 0.9
"""Of what was measured before, when a batch is measured: some ten batches are remembered."""
_UNKNOWN = 0.01
"""Seconds an item, before anything was computed."""


@dataclass
class _Cost:
    """Seconds and items of the last batches, older ones fading."""

    seconds: float = 0.0
    items: float = 0.0

    def learn(self, seconds: float, items: int) -> None:
        self.seconds, self.items = _FADING * self.seconds + seconds, _FADING * self.items + items

    @property
    def each(self) -> float:
        return self.seconds / self.items if self.items else _UNKNOWN


class Forecast:
    """Counts what waits, by its work, and learns what an item of each costs.

    An item of a work that was never computed counts as the average of all others.

    Args:
        observe: told the work of each batch, its items, and the seconds it took.
    """

    def __init__(self, observe: Callable[[str, int, float], None] = lambda *_: None) -> None:
        self._observe = observe
        self._waiting, self._requests = Counter[str](), Counter[str]()
        self._costs, self._all = dict[str, _Cost](), _Cost()
        self._ends = 0.0  # when the batch that is being computed probably does

    def add(self, work: str, items: int) -> None:
        """So many more items wait; fewer where it is negative."""
        self._waiting[work] += items
        if not self._waiting[work]:
            del self._waiting[work]

    @property
    def items(self) -> int:
        """How many wait."""
        return sum(self._waiting.values())

    @contextmanager
    def request(self, work: str) -> Iterator[None]:
        """Count a request whose items wait."""
        self._requests[work] += 1
        try:
            yield
        finally:
            self._requests[work] -= 1

    def seconds(self, turn: float = math.inf) -> float:
        """Until everything that waits now will probably be computed, of each request `turn` items at most."""
        running = max(0.0, self._ends - time.perf_counter())
        first = {work: min(n, turn * max(1, self._requests[work])) for work, n in self._waiting.items()}
        return running + sum(self._cost(work) * items for work, items in first.items())

    @contextmanager
    def computing(self, work: str, items: int) -> Iterator[None]:
        """Measure a batch of so many items."""
        began = time.perf_counter()
        self._ends = began + self._cost(work) * items
        try:
            yield
        finally:
            seconds, self._ends = time.perf_counter() - began, 0.0
        self._costs.setdefault(work, _Cost()).learn(seconds, items)
        self._all.learn(seconds, items)
        self._observe(work, items, seconds)

    def _cost(self, work: str) -> float:
        known = self._costs.get(work)
        return (known or self._all).each
