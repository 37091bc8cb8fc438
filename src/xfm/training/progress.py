"""What share of a run is done before each step: decided once a step, and kept.

The learning rate, the phases of a curriculum and the end of a run ask it, and nobody else looks at a clock: a
machine that is slow for a minute loses that minute only, and what was decided can be replayed.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import NamedTuple

from xfm.config.training import TrainingConfig
from xfm.errors import UserError
from xfm.training import distributed

ENDLESS = 1 << 32
"""More steps than any run makes: where the batches of a run without a known number of steps would end."""


class Moment(NamedTuple):
    """What was decided before a step.

    Attributes:
        share: of the run that is done, from 0 to 1; at 1 it ends.
        seconds: of training so far, without the time in which the run was stopped.
        phase: number of the curriculum's phase, from 0.
    """

    share: float
    seconds: float
    phase: int


Keep = Callable[[int, Moment], None]
"""Told of every moment when it is decided, with its step."""


class Progress(ABC):
    """How far a run has come before each step.

    Args:
        ends: shares at which a phase ends, in ascending order; the last phase has none.
        clock: gives seconds, like `time.perf_counter`.

    Attributes:
        moments: those that were decided, in the order of the steps.
        rates: factor of the learning rates in each phase; 1 where there is none.
        planned: steps of the whole run; None where only the clock knows.
    """

    planned: int | None = None
    rates: Sequence[float] = ()

    def __init__(self, ends: Sequence[float] = (), clock: Callable[[], float] = time.perf_counter) -> None:
        self.ends, self.clock = tuple(ends), clock
        self.moments: list[Moment] = []
        self._keep: Keep | None = None
        self._began: float | None = None

    def begin(self, start: int = 0, kept: Sequence[Moment] = (), keep: Keep | None = None) -> None:
        """Start the clock, at what was recorded before the run was stopped.

        Args:
            start: step that the run goes on with.
            kept: moments of the steps 0 to `start`, as far as they are known.
            keep: told of every further moment.

        Raises:
            UserError: what was decided cannot be told again.
        """
        self.moments, self._keep = list(kept), keep
        self._began = self.clock() - (kept[-1].seconds if kept else 0.0)

    def at(self, step: int) -> Moment:
        """The moment before a step. Of several processes all must ask for a new step at the same place."""
        if self._began is None:
            self.begin()
        assert self._began is not None
        while (number := len(self.moments)) <= step:
            moment = self._decided(number, self.clock() - self._began)
            self.moments.append(moment)
            if self._keep is not None:
                self._keep(number, moment)
        return self.moments[step]

    def over(self, step: int) -> bool:
        """Whether the run ends before this step."""
        return self.at(step).share >= 1

    def left(self, step: int) -> float:
        """How much is to come before a step, in a unit of the run's own: what counts are ratios."""
        return 1 - self.at(step).share

    def rate(self, step: int) -> float:
        """The factor of the learning rates at a step."""
        return self.rates[self.at(step).phase] if self.rates else 1.0

    @abstractmethod
    def _decided(self, step: int, seconds: float) -> Moment:
        """The moment before the step, after so many seconds of training."""


class BySteps(Progress):
    """A run of so many steps. A phase ends at the step nearest to its share of them."""

    def __init__(
        self, steps: int, ends: Sequence[float] = (), clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(ends, clock)
        self.steps = self.planned = steps

    def left(self, step: int) -> float:
        """Steps to come: whole numbers, so that rates are the same to the last bit on every machine."""
        return self.steps - step

    def _decided(self, step: int, seconds: float) -> Moment:
        phase = sum(step >= round(end * self.steps) for end in self.ends)
        return Moment(step / self.steps, seconds, phase)


class ByClock(Progress):
    """A run of so many seconds of training. A phase ends at the first step that finds its share used.

    Of several processes the first one's clock decides.
    """

    def __init__(
        self, seconds: float, ends: Sequence[float] = (), clock: Callable[[], float] = time.perf_counter
    ) -> None:
        super().__init__(ends, clock)
        self.seconds = seconds

    def begin(self, start: int = 0, kept: Sequence[Moment] = (), keep: Keep | None = None) -> None:
        """The same; a run that goes on needs the record of what it has done.

        Raises:
            UserError: the record is missing, or too short.
        """
        if start and len(kept) <= start:
            raise UserError(
                f"the run goes on with step {start} by the clock, but its schedule.csv ends before it: put "
                "the file back, or start again in another folder"
            )
        super().begin(start, kept, keep)

    def _decided(self, step: int, seconds: float) -> Moment:
        share = min(1.0, seconds / self.seconds) if step else 0.0  # one step at least, however little time
        return distributed.from_first(Moment(share, seconds, sum(share >= end for end in self.ends)))


class ByLimit(BySteps):
    """A run of so many steps, or of so many seconds where these are over first.

    The share that is done is the larger one of the two. Of several processes the first one's clock decides.
    """

    def __init__(
        self,
        steps: int,
        seconds: float,
        ends: Sequence[float] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        super().__init__(steps, ends, clock)
        self.seconds = seconds

    def left(self, step: int) -> float:
        """Steps to come at the speed so far."""
        return self.steps * (1 - self.at(step).share)

    def _decided(self, step: int, seconds: float) -> Moment:
        share = min(1.0, max(step / self.steps, seconds / self.seconds)) if step else 0.0
        return distributed.from_first(Moment(share, seconds, sum(share >= end for end in self.ends)))


class Replayed(Progress):
    """A run that goes step for step as another one went, however long that takes.

    Args:
        record: moments of the other run, from step 0 to its end.
        clock: gives seconds.
    """

    def __init__(self, record: Sequence[Moment], clock: Callable[[], float] = time.perf_counter) -> None:
        super().__init__(clock=clock)
        self.record = list(record)
        self.planned = len(record) - 1

    def _decided(self, step: int, seconds: float) -> Moment:
        return self.record[step]._replace(seconds=seconds)


def progress_of(config: TrainingConfig, ends: Sequence[float] = ()) -> Progress:
    """By the clock where `minutes` are given, by steps otherwise.

    Args:
        config: of the training.
        ends: shares at which a phase of its curriculum ends.
    """
    return ByClock(config.minutes * 60, ends) if config.minutes else BySteps(config.steps, ends)
