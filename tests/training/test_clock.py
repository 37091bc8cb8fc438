"""What share of a run is done before each step: by steps, by the clock, as recorded."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.clock import Clock
from xfm.config.training import OptimConfig, Schedule, TrainingConfig
from xfm.core.errors import UserError
from xfm.training.clock import ClockState, TrainingClock
from xfm.training.optim import lr_factor

ENDS = (0.4, 0.57, 0.87)


def run_of(clock: TrainingClock) -> list[ClockState]:
    """All moments of a run that looks at every step."""
    step = 0
    while not clock.is_over(step):
        step += 1
    return clock.moments


def before(step: int, steps: int, warmup: int, hold: float) -> float:
    """The rate as it was computed from steps alone."""
    if step < warmup:
        return (step + 1) / warmup
    return min(1.0, max(0.0, (steps - step) / max(1.0, (1 - hold) * (steps - warmup))))


# ---------------------------------------------------------------- by steps
@settings(deadline=None, max_examples=200)
@given(
    steps=st.integers(1, 400),
    warmup=st.integers(0, 100),
    hold=st.sampled_from([0.0, 0.25, 0.4, 0.99, 1.0]),
)
def test_rates_by_steps_are_what_they_were_to_the_last_bit(steps: int, warmup: int, hold: float) -> None:
    clock, config = TrainingClock(steps), OptimConfig(warmup=warmup, hold=hold)
    published = OptimConfig(warmup=warmup, published=True)
    for step in range(steps):
        assert lr_factor(step, clock, config) == before(step, steps, warmup, hold)
        if step >= warmup:
            old = max(0.0, (steps - step) / max(1, steps - warmup))
            assert lr_factor(step, clock, published) == old


@settings(deadline=None)
@given(steps=st.integers(1, 3000))
def test_phases_by_steps_end_at_the_nearest_step(steps: int) -> None:
    moments = run_of(TrainingClock(steps, ends=ENDS))
    assert len(moments) == steps + 1
    assert [moment.share for moment in moments] == [step / steps for step in range(steps + 1)]
    for number, end in enumerate(ENDS):
        first = next(step for step, moment in enumerate(moments) if moment.phase > number)
        assert first == round(end * steps)


def test_a_run_by_steps_looks_at_no_clock_for_anything_but_the_record() -> None:
    quick, slow = (TrainingClock(20, None, ENDS, None, Clock([each])) for each in (0.1, 50.0))
    decided = [[(m.share, m.phase) for m in run_of(clock)] for clock in (quick, slow)]
    assert decided[0] == decided[1]
    assert (quick.moments[-1].seconds, slow.moments[-1].seconds) == pytest.approx((2.0, 1000.0))


# ---------------------------------------------------------------- by the clock
def test_a_slow_minute_costs_that_minute_only() -> None:
    quiet = run_of(TrainingClock(None, 600, ENDS, None, Clock([1.0])))
    disturbed = run_of(TrainingClock(None, 600, ENDS, None, Clock([1.0] * 60 + [4.0] * 15 + [1.0])))
    assert len(quiet) - 1 == 600
    assert len(disturbed) - 1 == 600 - 45
    for moments in (quiet, disturbed):
        assert moments[0] == ClockState(0.0, 0.0, 0)
        assert moments[-1].share == 1
        assert 600 <= moments[-1].seconds < 604
        for number, end in enumerate(ENDS):
            first = next(moment for moment in moments if moment.phase > number)
            assert end <= first.share < end + 4 / 600


def test_the_clock_is_asked_once_a_step() -> None:
    timer = Clock([1.0])
    clock = TrainingClock(None, 10, (), None, timer)
    for _ in range(3):
        for step in range(5):
            clock.at(step)
            clock.left(step)
            clock.is_over(step)
    assert timer.asked == 1 + 5


def test_a_step_longer_than_the_whole_run_is_made_and_ends_it() -> None:
    moments = run_of(TrainingClock(None, 5, ENDS, None, Clock([60.0])))
    assert [moment.share for moment in moments] == [0, 1]
    timer = Clock([60.0])
    late = TrainingClock(None, 5, ENDS, None, timer)
    late.begin()
    timer.asked += 1  # a minute passes before the first step
    assert [moment.share for moment in run_of(late)] == [0, 1]


@settings(deadline=None, max_examples=50)
@given(
    seconds=st.lists(st.floats(0.5, 30), min_size=1, max_size=60),
    warmup=st.integers(0, 20),
    hold=st.sampled_from([0.0, 0.4, 1.0]),
    schedule=st.sampled_from(Schedule),
)
def test_rates_by_the_clock_rise_hold_and_fall(seconds, warmup, hold, schedule):
    clock = TrainingClock(None, 100, ENDS, None, Clock(seconds))
    moments = run_of(clock)
    config = OptimConfig(warmup=warmup, hold=hold, schedule=schedule)
    rates = [lr_factor(step, clock, config) for step in range(len(moments) - 1)]
    assert all(0 <= rate <= 1 for rate in rates)
    assert rates[:warmup] == [(step + 1) / warmup for step in range(min(warmup, len(rates)))]
    after = rates[warmup:]
    assert after == sorted(after, reverse=True)
    left = [1 - moment.share for moment in moments]
    for step in range(warmup, len(rates)):
        if hold < 1 and left[step] / left[warmup] < 1 - hold:
            assert rates[step] < 1
        if left[step] / left[warmup] > 1 - hold + 1e-9:
            assert rates[step] == 1


@pytest.mark.parametrize("stopped", [1, 7, 300])
def test_a_run_goes_on_where_it_was_stopped_and_the_pause_does_not_count(stopped: int) -> None:
    whole = run_of(TrainingClock(None, 600, ENDS, None, Clock([1.5])))
    clock = TrainingClock(None, 600, ENDS, None, Clock([1.5], began=50_000.0))
    clock.begin(stopped, whole[: stopped + 1])
    clock.at(stopped)
    found = run_of(clock)
    assert found[: stopped + 1] == whole[: stopped + 1]
    assert len(found) == pytest.approx(len(whole), abs=1)
    assert found[-1].seconds == pytest.approx(600, abs=1.5)


def test_a_run_by_the_clock_needs_its_record_to_go_on() -> None:
    with pytest.raises(UserError, match=r"schedule\.csv ends before it"):
        TrainingClock(seconds=600).begin(5, run_of(TrainingClock(None, 4, (), None, Clock([1.0]))))
    clock = TrainingClock(9, ends=ENDS)
    clock.begin(5)  # knows what it has done
    assert run_of(clock)[5].share == 5 / 9


# ---------------------------------------------------------------- replayed
def test_a_replay_decides_what_was_decided_whatever_its_clock() -> None:
    record = run_of(TrainingClock(None, 100, ENDS, None, Clock([1.0, 7.0, 0.5])))
    replay = TrainingClock(record=record, timer=Clock([0.01]))
    assert replay.planned == len(record) - 1
    again = run_of(replay)
    assert [(m.share, m.phase) for m in again] == [(m.share, m.phase) for m in record]
    assert again[-1].seconds < 2.1
    rates = [
        [lr_factor(step, clock, OptimConfig(warmup=5, hold=0.4)) for step in range(len(record) - 1)]
        for clock in (replay, TrainingClock(record=again))
    ]
    assert rates[0] == rates[1]


def test_every_moment_is_told_once_in_order() -> None:
    told: list[tuple[int, ClockState]] = []
    clock = TrainingClock(None, 10, ENDS, None, Clock([1.0]))
    clock.keep = lambda step, moment: told.append((step, moment))
    clock.at(4)
    run_of(clock)
    assert told == list(enumerate(clock.moments))


def test_minutes_decide_where_there_are_some() -> None:
    by_steps = TrainingClock.of(TrainingConfig(steps=7), ENDS)
    assert (by_steps.planned, by_steps.seconds, by_steps.ends) == (7, None, ENDS)
    by_clock = TrainingClock.of(TrainingConfig(steps=7, minutes=0.5), ENDS)
    assert (by_clock.planned, by_clock.seconds, by_clock.ends) == (None, 30.0, ENDS)


def test_a_phase_has_its_share_of_the_rate():
    clock = TrainingClock(100, ends=(0.4, 0.6))
    assert [clock.lr_scale(step) for step in (0, 50, 99)] == [1.0, 1.0, 1.0]
    clock.lr_scales = (1.0, 0.5, 0.25)
    assert [clock.lr_scale(step) for step in (0, 39, 40, 59, 60, 99)] == [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
