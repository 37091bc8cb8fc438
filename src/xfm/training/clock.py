"""The clock of a training: what share of the run is done before each step, decided once and kept.

The learning rate, the phases of a curriculum and the end of a run ask it, and nobody else looks at the time:
a machine that is slow for a minute loses that minute only.
"""

import math
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple, TextIO

from xfm.config.training import TrainingConfig
from xfm.core.errors import UserError
from xfm.core.files import read_text, write_text
from xfm.training import distributed

ENDLESS = 1 << 32
"""More steps than any run makes: where the batches of a run without a known number of steps would end."""


class ClockState(NamedTuple):
    """Decision before a step: share of the run done (1 ends it), seconds of training so far, the phase from
    0."""

    share: float
    seconds: float
    phase: int


class TrainingClock:
    """How far a run is before each step: by steps, by seconds, or by the first of both to end. By steps,
    rates are the same to the last bit on every machine; by time, the first process's clock decides. `ends`
    are the shares at which phases end, `lr_scales` one factor a phase; `keep` hears each step with its
    moment."""

    def __init__(
        self,
        steps: int | None = None,
        seconds: float | None = None,
        ends: Sequence[float] = (),
        timer: Callable[[], float] = time.perf_counter,
    ) -> None:
        if steps is None and seconds is None:
            raise ValueError("a run ends after some steps, or after some seconds")
        self.steps, self.seconds, self.ends, self.timer = steps, seconds, ends, timer
        self.moments: list[ClockState] = []
        self.lr_scales: Sequence[float] = ()
        self.keep: Callable[[int, ClockState], None] = lambda step, moment: None
        self._began: float | None = None

    @classmethod
    def of(cls, config: TrainingConfig, ends: Sequence[float] = ()) -> "TrainingClock":
        """By time where `minutes` are given, by steps otherwise; phases end at the shares `ends`."""
        return cls(seconds=config.minutes * 60, ends=ends) if config.minutes else cls(config.steps, ends=ends)

    def begin(self, start: int = 0, kept: Sequence[ClockState] = ()) -> None:
        """Start at a step, with the moments recorded up to it; UserError if time decides and the record is
        too short."""
        if self.steps is None and start and len(kept) <= start:
            raise UserError(
                f"the run goes on with step {start} by the clock, but its schedule.csv ends before it: put "
                "the file back, or start again in another folder"
            )
        self.moments = list(kept)
        self._began = self.timer() - (kept[-1].seconds if kept else 0.0)

    def at(self, step: int) -> ClockState:
        """The moment before a step. Of several processes all must ask for a new step at the same place."""
        if self._began is None:
            self.begin()
        assert self._began is not None
        while (number := len(self.moments)) <= step:
            seconds, done = self.timer() - self._began, 0.0 if self.steps is None else number / self.steps
            if self.seconds is None:
                phase = sum(number >= round(end * (self.steps or 0)) for end in self.ends)
                moment = ClockState(done, seconds, phase)
            else:
                share = min(1.0, max(done, seconds / self.seconds)) if number else 0.0  # one step at least
                phase = sum(share >= end for end in self.ends)
                moment = distributed.from_first(ClockState(share, seconds, phase))
            self.moments.append(moment)
            self.keep(number, moment)
        return self.moments[step]

    def left(self, step: int) -> float:
        """How much is to come before a step, in a unit of the run's own: what counts are ratios."""
        if self.steps is None:
            return 1 - self.at(step).share
        return self.steps - step if self.seconds is None else self.steps * (1 - self.at(step).share)

    def lr_scale(self, step: int) -> float:
        """The factor of the learning rates at a step."""
        return self.lr_scales[self.at(step).phase] if self.lr_scales else 1.0


SCHEDULE = "schedule.csv"
"""What a run did."""
MAX_SCHEDULE = 1 << 30


def open_schedule(folder: Path, kept: Sequence[ClockState]) -> TextIO:
    """`schedule.csv` of a run, to which `schedule_line`s are appended; lines after the moments given are
    cut. Each line is there whatever happens to the process."""
    lines = [schedule_line(step, moment) for step, moment in enumerate(kept)]
    write_text(folder / SCHEDULE, "".join([",".join(("step", *ClockState._fields)) + "\n", *lines]))
    return (folder / SCHEDULE).open("a", encoding="utf-8", buffering=1)


def schedule_line(step: int, moment: ClockState) -> str:
    """A step as a line of the file."""
    return f"{step},{moment.share!r},{moment.seconds:.3f},{moment.phase}\n"


def read_schedule(path: Path) -> list[ClockState]:
    """The moments of a file, as far as it is whole; none where no text can be read."""
    found: list[ClockState] = []
    with suppress(OSError, ValueError):
        for line in read_text(path, MAX_SCHEDULE).splitlines()[1:]:
            step, share, seconds, phase = line.split(",")
            moment = ClockState(float(share), float(seconds), int(phase))
            whole = int(step) == len(found) and 0 <= moment.share <= 1 and moment.phase >= 0
            if not whole or not math.isfinite(moment.seconds):
                break
            found.append(moment)
    return found
