"""The time of a fine-tuning that has a limit: what its training may take, and what is kept for the rest."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from math import inf
from pathlib import Path

from xfm.core.errors import UserError
from xfm.core.files import read_json_or_nothing
from xfm.finetuning.speed import Amounts, TuningSpeed
from xfm.reports.scores import write_json

BUDGET_FILE = "budget.json"
LEAST, RESERVED, BASELINES = 0.1, 0.15, 0.15
"""Shares of the limit: the training has at least the first; the second is for report, intervals and what
comes unexpected, the third for strong baselines."""
LOOKING = 0.3
"""Most of the training's time that looks at the validation rows may take."""


@dataclass(frozen=True)
class TimeShare:
    """What the training of a run with a limit may take, as `budget.json` keeps it for a run that goes on.

    Attributes:
        minutes: the limit.
        seconds: of each training; those without a modality have their own.
        steps: most steps, at the speed that was measured.
        looks: at the validation rows.
    """

    minutes: float
    seconds: float
    steps: int
    looks: int


@dataclass(frozen=True)
class Budget:
    """The clock of a command.

    Attributes:
        minutes: the limit; 0 for none.
        clock: gives seconds.
        began: what it showed when the command began.
    """

    minutes: float = 0.0
    clock: Callable[[], float] = time.perf_counter
    began: float = field(default_factory=time.perf_counter)

    @property
    def used(self) -> float:
        """Seconds since the command began."""
        return self.clock() - self.began

    @property
    def left(self) -> float:
        """Seconds that are left; infinitely many without a limit, and never below 0."""
        return max(0.0, 60 * self.minutes - self.used) if self.minutes else inf

    def share(self, speed: TuningSpeed, amounts: Amounts, baselines: bool) -> TimeShare:
        """What the training may take.

        Args:
            speed: measured here.
            amounts: of the run; its steps are those that fit the rows.
            baselines: whether strong ones are run.
        """
        whole = 60 * self.minutes
        kept = (RESERVED + (BASELINES if baselines else 0.0)) * whole
        ratio = amounts.modality_steps / amounts.steps if amounts.steps else 1.0
        runs = max(1, amounts.folds)
        weight = runs * (1 + amounts.modalities * ratio) + (1 if amounts.folds else 0)
        scored = speed.row * amounts.test * runs * (1 + amounts.modalities)
        seconds = max(LEAST * whole, self.left - kept - scored) / weight
        look = speed.row * amounts.valid + speed.save
        looks = max(1, min(amounts.looks, int(LOOKING * seconds / look) if look else amounts.looks))
        room = max(0.0, seconds - looks * look)
        steps = max(1, min(amounts.steps, int(room / speed.step) if speed.step else amounts.steps))
        return TimeShare(self.minutes, round(seconds, 3), steps, looks)


def kept_share(out: Path) -> TimeShare:
    """The share that a run began with.

    Raises:
        UserError: its file is missing or damaged.
    """
    found = read_json_or_nothing(out / BUDGET_FILE)
    try:
        share = TimeShare(*(kind(found[name]) for name, kind in TimeShare.__annotations__.items()))
    except (KeyError, TypeError, ValueError, OverflowError):
        share = None
    if share is None or not (0 < share.seconds < inf and share.steps >= 1 and share.looks >= 1):
        raise UserError(
            f"{out / BUDGET_FILE} is missing or damaged, without which a run with a time limit cannot go "
            "on: put it back, or begin in another folder"
        )
    return share


def keep_share(out: Path, share: TimeShare) -> None:
    """Write down the share that a run begins with."""
    out.mkdir(parents=True, exist_ok=True)
    write_json(out / BUDGET_FILE, asdict(share))
