"""Pre-training by a clock or by steps: recorded, stopped and gone on with."""

from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.training.clock import Clock
from tests.training.corpus import tiny_recipe
from tests.training.support import logged
from xfm.config.phases import PhaseConfig, PhaseWeights
from xfm.config.recipe import Recipe
from xfm.config.training import OptimConfig, Schedule
from xfm.models.folder import load_model
from xfm.training.checkpoint import list_checkpoints
from xfm.training.clock import SCHEDULE, ClockState, TrainingClock, read_schedule
from xfm.training.curriculum import CurriculumData
from xfm.training.distributed import Process
from xfm.training.optim import lr_factor
from xfm.training.pretrain import pretrain

MINUTE = 60.0
UNEVEN = [4.0, 9.0, 2.0, 11.0, 3.0, 5.0, 8.0, 20.0]


class PowerCut(BaseException):
    """Nothing is tidied up after it."""


def by_clock(corpus: Path, **training: object) -> Recipe:
    """A run of a minute: text alone, then all, then all with other weights."""
    recipe = tiny_recipe(corpus, **{"minutes": 1.0, "save_every": 2, "keep": 9, **training})  # type: ignore[arg-type]
    return replace(
        recipe, curriculum=[*recipe.curriculum, PhaseConfig(until=0.7, weights=PhaseWeights(itm=0.5))]
    )


def set_clock(patch: pytest.MonkeyPatch, steps: Iterable[float], dies_at: int | None = None) -> None:
    clock = Clock(steps)

    def told() -> float:
        now = clock()
        if dies_at is not None and clock.asked > dies_at:
            raise PowerCut
        return now

    made = lambda config, ends: TrainingClock(None, config.minutes * MINUTE, ends, told)  # noqa: E731
    patch.setattr(TrainingClock, "of", made)


@pytest.fixture(scope="module")
def kept(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of uneven steps, to be copied."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    with pytest.MonkeyPatch.context() as patch:
        set_clock(patch, UNEVEN)
        pretrain(by_clock(corpus), folder, progress=False)
    return folder


# ---------------------------------------------------------------- recorded
def test_phases_follow_the_clock_and_are_recorded(kept):
    record = read_schedule(kept / SCHEDULE)
    seconds = [0.0, 4.0, 13.0, 15.0, 26.0, 29.0, 34.0, 42.0, 62.0]
    assert [moment.seconds for moment in record] == seconds
    assert [moment.share for moment in record] == [min(1.0, value / 60) for value in seconds]
    assert [moment.phase for moment in record] == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    lines = {line["step"]: line for line in logged(kept) if "event" not in line}
    assert [set(lines[step]["losses"]) == {"text/mlm"} for step in range(1, 9)] == [True] * 4 + [False] * 4
    assert [lines[step]["share"] for step in range(1, 9)] == [moment.share for moment in record[1:]]
    position = load_model(kept / "model").provenance["position"]
    assert position == {"steps": 8, "minutes": 1.0, "batches": 8}


def test_a_phase_that_the_clock_passes_over_still_hands_on_its_words(corpus, tmp_path, monkeypatch):
    no_fusion = PhaseWeights(itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
    phases = [
        PhaseConfig(0.4, weights=no_fusion),
        PhaseConfig(0.5, weights=no_fusion, init_fusion_embeddings_from_language=True),
    ]
    recipe = replace(by_clock(corpus), curriculum=[*phases, PhaseConfig(1.0, weights=no_fusion)])
    set_clock(monkeypatch, [20.0, 30.0, 20.0])
    states = load_model(pretrain(recipe, tmp_path / "run", progress=False)).model.state_dict()
    assert {moment.phase for moment in read_schedule(tmp_path / "run" / SCHEDULE)} == {0, 2}
    words, own = (states[f"{part}.embeddings.words.weight"] for part in ("language", "fusion"))
    torch.testing.assert_close(own, words, atol=0.1, rtol=0)  # one step later
    assert (own - words).abs().max() < 0.1 < (words - words.roll(1, 0)).abs().max()


def test_a_batch_is_a_function_of_its_phase_and_step(corpus):
    """Whenever the phase began, and wherever the run is taken up."""
    alone = Process(0, 1, torch.device("cpu"))
    origins: list[dict[tuple[int, int], object]] = []
    for steps in ([8.0], [5.0, 30.0, 3.0]):
        clock = TrainingClock(None, MINUTE, by_clock(corpus).ends(), Clock(steps))
        data = CurriculumData(by_clock(corpus), alone, clock=clock)
        batches = {}
        for batch in data.batches(0, 1 << 20):
            batches[data.phase_number(batch.step), batch.step] = batch.origins
            if clock.at(batch.step + 1).share >= 1:
                break
        origins.append(batches)
    common = origins[0].keys() & origins[1].keys()
    assert {phase for phase, _ in common} >= {0, 2}
    assert all(origins[0][key] == origins[1][key] for key in common)


def test_killed_and_gone_on_with(corpus, tmp_path, monkeypatch):
    """What the kill lost is trained again; the record is of what the weights have seen."""
    run, stopped = tmp_path / "run", 6
    set_clock(monkeypatch, UNEVEN, dies_at=stopped + 1)
    with pytest.raises(PowerCut):
        pretrain(by_clock(corpus), run, progress=False)
    saved = int(list_checkpoints(run)[-1].name.removeprefix("step-"))
    before = read_schedule(run / SCHEDULE)
    assert saved < stopped == len(before)
    set_clock(monkeypatch, [7.0])
    pretrain(by_clock(corpus), run, resume=True, progress=False)
    after = read_schedule(run / SCHEDULE)
    assert after[: saved + 1] == before[: saved + 1]
    steps = [later.seconds - now.seconds for now, later in pairwise(after[saved:])]
    assert steps == pytest.approx([steps[0], *[7.0] * (len(steps) - 1)])
    assert MINUTE <= after[-1].seconds < MINUTE + 7


@pytest.mark.parametrize("line", ["3,0.5", "4,0.5,1.0,0", "3,nan,1.0,0", "3,0.5,1.0,-1", "x"])
def test_a_record_counts_as_far_as_it_is_whole(tmp_path, line):
    good = [ClockState(step / 7, step * 1.25, step // 2) for step in range(3)]
    rows = [f"{step},{m.share!r},{m.seconds},{m.phase}" for step, m in enumerate(good)]
    text = "\n".join(["step,share,seconds,phase", *rows, line, "4,0.9,2.0,1"])
    (tmp_path / SCHEDULE).write_text(text)
    assert read_schedule(tmp_path / SCHEDULE) == good
    assert read_schedule(tmp_path / "none.csv") == []
    (tmp_path / SCHEDULE).write_bytes(bytes(range(256)))
    assert read_schedule(tmp_path / SCHEDULE) == []


ENDS = (0.4, 0.57, 0.87)


def run_of(clock: TrainingClock) -> list[ClockState]:
    """All moments of a run that looks at every step."""
    step = 0
    while clock.at(step).share < 1:
        step += 1
    return clock.moments


# ---------------------------------------------------------------- by steps
@settings(max_examples=200)
@given(
    steps=st.integers(1, 400), warmup=st.integers(0, 100), hold=st.sampled_from([0.0, 0.25, 0.4, 0.99, 1.0])
)
def test_rates_by_steps(steps: int, warmup: int, hold: float) -> None:
    clock, config = TrainingClock(steps), OptimConfig(warmup=warmup, hold=hold)
    for step in range(steps):
        fall = (steps - step) / max(1.0, (1 - hold) * (steps - warmup))
        assert lr_factor(step, clock, config) == min(1.0, (step + 1) / warmup if step < warmup else fall)


@given(steps=st.integers(1, 3000))
def test_phases_by_steps_end_at_the_nearest_step(steps: int) -> None:
    moments = run_of(TrainingClock(steps, ends=ENDS))
    assert len(moments) == steps + 1
    assert [moment.share for moment in moments] == [step / steps for step in range(steps + 1)]
    for number, end in enumerate(ENDS):
        first = next(step for step, moment in enumerate(moments) if moment.phase > number)
        assert first == round(end * steps)


# ---------------------------------------------------------------- by the clock
def test_a_slow_minute_costs_that_minute_only() -> None:
    quiet = run_of(TrainingClock(None, 600, ENDS, Clock([1.0])))
    disturbed = run_of(TrainingClock(None, 600, ENDS, Clock([1.0] * 60 + [4.0] * 15 + [1.0])))
    assert len(quiet) - 1 == 600
    assert len(disturbed) - 1 == 600 - 45
    for moments in (quiet, disturbed):
        assert moments[0] == ClockState(0.0, 0.0, 0)
        assert moments[-1].share == 1
        assert 600 <= moments[-1].seconds < 604
        for number, end in enumerate(ENDS):
            first = next(moment for moment in moments if moment.phase > number)
            assert end <= first.share < end + 4 / 600


@settings(max_examples=50)
@given(
    seconds=st.lists(st.floats(0.5, 30), min_size=1, max_size=60),
    warmup=st.integers(0, 20),
    hold=st.sampled_from([0.0, 0.4, 1.0]),
    schedule=st.sampled_from(Schedule),
)
def test_rates_by_the_clock_rise_hold_and_fall(seconds, warmup, hold, schedule):
    clock = TrainingClock(None, 100, ENDS, Clock(seconds))
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
    whole = run_of(TrainingClock(None, 600, ENDS, Clock([1.5])))
    clock = TrainingClock(None, 600, ENDS, Clock([1.5], began=50_000.0))
    clock.begin(stopped, whole[: stopped + 1])
    clock.at(stopped)
    found = run_of(clock)
    assert found[: stopped + 1] == whole[: stopped + 1]
    assert len(found) == pytest.approx(len(whole), abs=1)
    assert found[-1].seconds == pytest.approx(600, abs=1.5)
