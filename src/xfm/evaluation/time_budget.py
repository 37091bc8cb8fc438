"""An evaluation's remaining time, shared among its fine-tunings.

Encoding, ranking and predicting are measured against the machine of `WORK`; the time that they will still
take is kept free.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from xfm.config.evaluation import AFTERWARDS, WORK, Part

LEAST = 0.2
"""Share of the time left that fine-tunings have, however slow the rest is."""


class TimeBudget:
    """Time of each fine-tuning; `minutes` 0 means that steps decide, `clock` gives seconds.

    Example:
        with time_budget.part(Part.VQA):
            minutes = time_budget.minutes()  # for the first fine-tuning
    """

    def __init__(
        self,
        minutes: float = 0.0,
        parts: Sequence[Part] = (),
        scratch: bool = False,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock, self._limited = clock, minutes > 0
        self._ends, self._scratch = clock() + 60 * minutes, scratch
        self._to_come = list(parts)
        self._work = {part: work.with_scratch() if scratch else work for part, work in WORK.items()}
        self._tunings: tuple[float, ...] = ()
        self._tuned = self._rest_took = self._rest_planned = 0.0

    def was_done(self, part: Part, seconds: float) -> None:
        """A part was finished before an interruption, in so many seconds."""
        self._to_come = [one for one in self._to_come if one is not part]
        self._ends -= seconds

    @contextmanager
    def part(self, part: Part) -> Iterator[None]:
        """While a part runs."""
        self._to_come = [part, *(one for one in self._to_come if one is not part)]
        self._tunings, self._tuned, began = self._work[part].tunings, 0.0, self._clock()
        yield
        self._rest_took += self._clock() - began - self._tuned
        self._rest_planned += self._work[part].rest
        self._to_come = self._to_come[1:]

    def one_more(self, part: Part) -> None:
        """The running part trains an intermediate task before its own, and before its last, from scratch."""
        extra, own = self._work[part].tunings[0], self._tunings
        self._tunings = (extra, *own[:-1], extra, own[-1]) if self._scratch else (extra, *own)

    def minutes(self) -> float:
        """For the next fine-tuning of the running part; 0 where steps decide."""
        if not self._limited:
            return 0.0
        own, *others = (self._work[part] for part in self._to_come)
        here = self._tunings or own.tunings[-1:]  # to come, of which the next is one
        rest = AFTERWARDS + own.rest * len(here) / len(own.tunings) + sum(one.rest for one in others)
        weights = sum(here) + sum(sum(one.tunings) for one in others)
        left = max(1.0, self._ends - self._clock())
        free = max(LEAST * left, left - self._slowness * rest)
        return free * here[0] / weights / 60

    def tuned(self, seconds: float) -> None:
        """A fine-tuning has taken so long."""
        self._tunings = self._tunings[1:]
        self._tuned += seconds

    @property
    def _slowness(self) -> float:
        return self._rest_took / self._rest_planned if self._rest_planned else 1.0
