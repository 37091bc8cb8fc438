"""An evaluation by the clock on simulated machines: it ends in time, and its fine-tunings fill that."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import pytest

from xfm.config.evaluation import AFTERWARDS, WORK, Part, PartCost
from xfm.evaluation.context import TimeBudget

PARTS = list(Part)
ALONE = {part: work.without_baselines() for part, work in WORK.items()}


@dataclass
class Machine:
    """Seconds pass by what is done on it."""

    slowness: Callable[[float], float]
    plan: Mapping[Part, PartCost] = field(default_factory=lambda: WORK)
    now: float = 0.0
    tuned: dict[Part, list[float]] = field(default_factory=dict)

    def works(self, seconds: float) -> None:
        self.now += seconds * self.slowness(self.now)

    def evaluates(self, time_budget: TimeBudget, parts: list[Part]) -> None:
        for part in parts:
            work = self.plan[part]
            with time_budget.part(part):
                self.works(work.rest / 10 if work.tunings else work.rest)
                for _ in work.tunings:
                    seconds = 60 * time_budget.minutes()
                    assert seconds > 0
                    self.now += seconds
                    self.tuned.setdefault(part, []).append(seconds)
                    time_budget.tuned(seconds)
                    self.works(0.9 * work.rest / len(work.tunings))
        self.works(AFTERWARDS)


@pytest.mark.parametrize("minutes", [8, 12, 30])
@pytest.mark.parametrize(
    "slowness",
    [
        lambda now: 0.5,
        lambda now: 1.0,
        lambda now: 2.0,
        lambda now: 2.0 if 100 < now < 300 else 1.0,
        lambda now: 1.6 if now < 200 else 1.0,
    ],
    ids=["fast", "as planned", "slow", "slow for a while", "slow at first"],
)
def test_the_time_is_used_and_no_more(slowness, minutes: float) -> None:
    machine = Machine(slowness, ALONE)
    time_budget = TimeBudget(minutes, PARTS, False, lambda: machine.now)
    machine.evaluates(time_budget, PARTS)
    assert machine.now / 60 == pytest.approx(minutes, abs=0.35)


@pytest.mark.parametrize("baselines", [False, True])
def test_as_planned_every_fine_tuning_has_its_seconds(baselines: bool) -> None:
    plan = WORK if baselines else ALONE
    machine = Machine(lambda now: 1.0, plan)
    seconds = AFTERWARDS + sum(work.rest + sum(work.tunings) for work in plan.values())
    machine.evaluates(TimeBudget(seconds / 60, PARTS, baselines, lambda: machine.now), PARTS)
    assert len(machine.tuned[Part.VQA]) == (3 if baselines else 1)
    for part, seconds in machine.tuned.items():
        assert seconds == pytest.approx(plan[part].tunings, rel=0.1), part


def test_a_stopped_evaluation_has_what_is_left() -> None:
    """Finished parts have used their seconds; the pause has used none."""
    whole = Machine(lambda now: 1.0)
    time_budget = TimeBudget(16, PARTS, clock=lambda: whole.now)
    seconds: dict[Part, float] = {}
    for part in PARTS[:6]:
        began = whole.now
        whole.evaluates(time_budget, [part])
        seconds[part] = whole.now - began - AFTERWARDS
    rest = Machine(lambda now: 1.0, now=70_000.0)
    time_budget = TimeBudget(16, PARTS, clock=lambda: rest.now)
    for part in PARTS[:6]:
        time_budget.was_done(part, seconds[part])
    rest.evaluates(time_budget, PARTS[6:])
    assert rest.now - 70_000.0 == pytest.approx(16 * 60 - sum(seconds.values()), abs=10)
