"""Pre-training by a clock: recorded, stopped and gone on with, and trained again step for step."""

import json
import shutil
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
import torch

from tests.training.clock import Clock
from tests.training.corpus import tiny_recipe
from tests.training.support import logged, logged_losses
from xfm.cli.main import main
from xfm.config.load import load_recipe
from xfm.config.phases import PhaseConfig, PhaseWeights
from xfm.config.recipe import Recipe
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.models.folder import load_model
from xfm.training.checkpoint import list_checkpoints
from xfm.training.clock import REPLAYED, SCHEDULE, ClockState, TrainingClock, phase_starts, read_schedule
from xfm.training.curriculum import CurriculumData
from xfm.training.distributed import Process
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


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch):
    def set_clock(steps: Iterable[float], dies_at: int | None = None) -> None:
        clock = Clock(steps)

        def told() -> float:
            now = clock()
            if dies_at is not None and clock.asked > dies_at:
                raise PowerCut
            return now

        monkeypatch.setattr(
            TrainingClock,
            "of",
            lambda config, ends: TrainingClock(None, config.minutes * MINUTE, ends, None, told),
        )

    return set_clock


@pytest.fixture(scope="module")
def kept(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of uneven steps, to be copied."""
    folder = tmp_path_factory.mktemp("kept") / "run"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            TrainingClock,
            "of",
            lambda config, ends: TrainingClock(None, config.minutes * MINUTE, ends, None, Clock(UNEVEN)),
        )
        pretrain(by_clock(corpus), folder, progress=False)
    return folder


@pytest.fixture
def recorded(kept: Path, tmp_path: Path) -> Path:
    """The folder of a run of uneven steps, to do with as one likes."""
    return Path(shutil.copytree(kept, tmp_path / "run"))


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_model(run / "model").model.state_dict()


def assert_same_training(one: Path, other: Path) -> None:
    """The same numbers in every step, and the same weights bit for bit."""
    assert logged_losses(one) == logged_losses(other)
    ours, theirs = weights(one), weights(other)
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        assert torch.equal(tensor, theirs[name]), name


@pytest.mark.parametrize(("ours", "theirs"), [(1.0, 2.0), (2.0, 1.0)])
def test_a_replay_has_the_arithmetic_of_the_run_that_it_follows(ours, theirs, corpus, tmp_path, monkeypatch):
    recipe = tiny_recipe(corpus, steps=2, precision=Precision.AUTO)
    monkeypatch.setattr("xfm.models.precision._cpu_gain", lambda: ours)
    pretrain(recipe, tmp_path / "run", progress=False)
    monkeypatch.setattr("xfm.models.precision._cpu_gain", lambda: theirs)
    pretrain(recipe, tmp_path / "again", replay=tmp_path / "run", progress=False)
    assert_same_training(tmp_path / "run", tmp_path / "again")
    assert load_recipe(tmp_path / "again" / "config.yaml").training.precision is Precision.AUTO


@pytest.mark.parametrize("said", [None, "quick", ["bf16"], "no model"])
def test_a_run_that_does_not_say_its_arithmetic_is_replayed_in_ours(said, corpus, tmp_path, caplog):
    recipe = tiny_recipe(corpus, steps=1, precision=Precision.AUTO)
    model = pretrain(recipe, tmp_path / "run", progress=False)
    told = json.loads((model / "provenance.json").read_text())
    (model / "provenance.json").write_text(json.dumps(told | {"precision": said}))
    if said == "no model":  # the schedule is all that a replay needs
        shutil.rmtree(model)
    pretrain(recipe, tmp_path / "again", replay=tmp_path / "run", progress=False)
    assert "does not say in which arithmetic" in caplog.text


def decided(run: Path, name: str = SCHEDULE) -> list[tuple[float, int]]:
    return [(moment.share, moment.phase) for moment in read_schedule(run / name)]


# ---------------------------------------------------------------- recorded
def test_phases_follow_the_clock_and_are_recorded(kept):
    record = read_schedule(kept / SCHEDULE)
    seconds = [0.0, 4.0, 13.0, 15.0, 26.0, 29.0, 34.0, 42.0, 62.0]
    assert [moment.seconds for moment in record] == seconds
    assert [moment.share for moment in record] == [min(1.0, value / 60) for value in seconds]
    assert [moment.phase for moment in record] == [0, 0, 0, 0, 1, 1, 1, 2, 2]
    assert phase_starts(record) == [4, 7]
    lines = {line["step"]: line for line in logged(kept) if "event" not in line}
    assert [set(lines[step]["losses"]) == {"text/mlm"} for step in range(1, 9)] == [True] * 4 + [False] * 4
    assert [lines[step]["share"] for step in range(1, 9)] == [moment.share for moment in record[1:]]
    position = load_model(kept / "model").provenance["position"]
    assert position == {"steps": 8, "minutes": 1.0, "batches": 8}


def test_a_phase_that_the_clock_passes_over_still_hands_on_its_words(corpus, tmp_path, set_clock):
    no_fusion = PhaseWeights(itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
    phases = [
        PhaseConfig(0.4, weights=no_fusion),
        PhaseConfig(0.5, weights=no_fusion, init_fusion_embeddings_from_language=True),
    ]
    recipe = replace(by_clock(corpus), curriculum=[*phases, PhaseConfig(1.0, weights=no_fusion)])
    set_clock([20.0, 30.0, 20.0])
    states = load_model(pretrain(recipe, tmp_path / "run", progress=False)).model.state_dict()
    assert {phase for _, phase in decided(tmp_path / "run")} == {0, 2}
    words, own = (states[f"{part}.embeddings.words.weight"] for part in ("language", "fusion"))
    torch.testing.assert_close(own, words, atol=0.1, rtol=0)  # one step later
    assert (own - words).abs().max() < 0.1 < (words - words.roll(1, 0)).abs().max()


def test_a_batch_is_a_function_of_its_phase_and_step(corpus):
    """Whenever the phase began, and wherever the run is taken up."""
    alone = Process(0, 1, torch.device("cpu"))
    origins: list[dict[tuple[int, int], object]] = []
    for steps in ([8.0], [5.0, 30.0, 3.0]):
        clock = TrainingClock(None, MINUTE, by_clock(corpus).ends(), None, Clock(steps))
        data = CurriculumData(by_clock(corpus), alone, clock=clock)
        batches = {}
        for batch in data.batches(0, 1 << 20):
            batches[data.phase_number(batch.step), batch.step] = batch.origins
            if clock.is_over(batch.step + 1):
                break
        origins.append(batches)
    common = origins[0].keys() & origins[1].keys()
    assert {phase for phase, _ in common} >= {0, 2}
    assert all(origins[0][key] == origins[1][key] for key in common)


# ---------------------------------------------------------------- trained again
@pytest.mark.parametrize("accumulation", [1, 2])
def test_a_replay_has_the_same_weights(corpus, tmp_path, set_clock, accumulation):
    set_clock(UNEVEN)
    recipe = by_clock(corpus, gradient_accumulation_steps=accumulation)
    pretrain(recipe, tmp_path / "run", progress=False)
    set_clock([0.01])  # would make thousands of steps
    kept = load_recipe(tmp_path / "run" / "config.yaml")
    assert kept == recipe
    pretrain(kept, tmp_path / "again", progress=False, replay=tmp_path / "run")
    assert_same_training(tmp_path / "run", tmp_path / "again")
    assert decided(tmp_path / "again") == decided(tmp_path / "run")
    pretrain(kept, tmp_path / "third", progress=False, replay=tmp_path / "again")
    assert_same_training(tmp_path / "run", tmp_path / "third")


def test_the_command_replays(kept, tmp_path, capsys):
    words = ["pretrain", "--replay", str(kept), "--out", str(tmp_path / "again"), "--quiet"]
    assert main(words) == 0
    assert_same_training(kept, tmp_path / "again")
    assert main([*words, "--recipe", "nano"]) == 2  # the folder is taken, whatever the recipe
    said = capsys.readouterr()
    assert "--recipe nano is not read" in said.out
    assert "already holds a run" in said.err


@pytest.mark.parametrize("stopped", [3, 6])
def test_killed_gone_on_with_and_replayed(corpus, tmp_path, set_clock, stopped):
    """What the kill lost is trained again; the record is of what the weights have seen."""
    run = tmp_path / "run"
    set_clock(UNEVEN, dies_at=stopped + 1)
    with pytest.raises(PowerCut):
        pretrain(by_clock(corpus), run, progress=False)
    saved = int(list_checkpoints(run)[-1].name.removeprefix("step-"))
    before = read_schedule(run / SCHEDULE)
    assert saved < stopped == len(before)
    set_clock([7.0])
    pretrain(by_clock(corpus), run, resume=True, progress=False)
    after = read_schedule(run / SCHEDULE)
    assert after[: saved + 1] == before[: saved + 1]
    steps = [later.seconds - now.seconds for now, later in pairwise(after[saved:])]
    assert steps == pytest.approx([steps[0], *[7.0] * (len(steps) - 1)])
    assert MINUTE <= after[-1].seconds < MINUTE + 7
    kept = load_recipe(run / "config.yaml")
    pretrain(kept, tmp_path / "again", progress=False, replay=run)
    assert_same_training(run, tmp_path / "again")


def test_a_replay_that_was_stopped_goes_on(corpus, recorded, tmp_path, set_clock):
    pretrain(by_clock(corpus), tmp_path / "again", progress=False, replay=recorded)
    again = tmp_path / "again"
    shutil.rmtree(again / "model")
    for path in list_checkpoints(again)[2:]:
        shutil.rmtree(path)
    shutil.rmtree(recorded / "checkpoints")
    set_clock([0.01])
    with pytest.raises(UserError, match="already holds a run"):
        pretrain(by_clock(corpus), again, progress=False)  # and it still knows what it replays
    whole = (again / REPLAYED).read_bytes()
    (again / REPLAYED).write_bytes(whole[:-9])
    with pytest.raises(UserError, match=r"replayed\.csv ends at step 7"):
        pretrain(by_clock(corpus), again, progress=False, resume=True)
    (again / REPLAYED).write_bytes(whole)
    pretrain(by_clock(corpus), again, progress=False, resume=True)
    assert_same_training(recorded, again)


def test_a_run_by_steps_is_replayed_too(corpus, tmp_path):
    pretrain(tiny_recipe(corpus), tmp_path / "run", progress=False)
    record = read_schedule(tmp_path / "run" / SCHEDULE)
    assert [(m.share, m.phase) for m in record] == [(step / 6, int(step >= 2)) for step in range(7)]
    pretrain(tiny_recipe(corpus), tmp_path / "again", progress=False, replay=tmp_path / "run")
    assert_same_training(tmp_path / "run", tmp_path / "again")


# ---------------------------------------------------------------- refused
def unfinished(run: Path) -> None:
    lines = (run / SCHEDULE).read_text().splitlines(keepends=True)
    (run / SCHEDULE).write_text("".join(lines[:-1]) + lines[-1][:4])


def without_record(run: Path) -> None:
    (run / SCHEDULE).unlink()


def of_more_phases(run: Path) -> None:
    text = (run / SCHEDULE).read_text()
    (run / SCHEDULE).write_text(text.replace(",2\n", ",9\n"))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (unfinished, r"schedule\.csv ends at step 7, 70% of the run: finish that with --resume"),
        (without_record, r"schedule\.csv is missing or damaged"),
        (of_more_phases, r"is not of this recipe"),
    ],
)
def test_what_cannot_be_replayed(corpus, recorded, tmp_path, change, said):
    change(recorded)
    with pytest.raises(UserError, match=said):
        pretrain(by_clock(corpus), tmp_path / "again", progress=False, replay=recorded)


def test_a_schedule_of_another_kind_of_run(corpus, tmp_path, set_clock):
    set_clock([10.0])
    pretrain(by_clock(corpus), tmp_path / "run", progress=False)
    with pytest.raises(UserError, match="is not of this recipe"):
        pretrain(tiny_recipe(corpus, 6), tmp_path / "again", progress=False, replay=tmp_path / "run")


def test_a_stopped_run_without_its_record(corpus, tmp_path, set_clock):
    set_clock(UNEVEN, dies_at=6)
    with pytest.raises(PowerCut):
        pretrain(by_clock(corpus), tmp_path / "run", progress=False)
    without_record(tmp_path / "run")
    with pytest.raises(UserError, match=r"schedule\.csv ends before it: put the file back"):
        pretrain(by_clock(corpus), tmp_path / "run", resume=True, progress=False)


def test_a_replay_is_resumed_as_what_it_is(corpus, tmp_path):
    pretrain(tiny_recipe(corpus, save_every=2), tmp_path / "run", progress=False)
    with pytest.raises(UserError, match="leave out --replay with --resume"):
        pretrain(tiny_recipe(corpus), tmp_path / "run", resume=True, replay=tmp_path / "x", progress=False)


def test_what_a_replay_left_behind_is_no_schedule_of_a_new_run(corpus, tmp_path):
    (run := tmp_path / "run").mkdir()
    (run / REPLAYED).write_text("step,share,seconds,phase\n0,0.0,0.0,0\n1,1.0,3.0,0\n")
    pretrain(tiny_recipe(corpus), run, progress=False)
    assert len(read_schedule(run / SCHEDULE)) == 7
    assert not (run / REPLAYED).exists()


@pytest.mark.parametrize(
    "line",
    ["3,0.5", "4,0.5,1.0,0", "3,nan,1.0,0", "3,1.5,1.0,0", "3,0.5,inf,0", "3,0.5,1.0,-1", "x", "3,0.5,1.0,x"],
)
def test_a_record_counts_as_far_as_it_is_whole(tmp_path, line):
    good = [ClockState(step / 7, step * 1.25, step // 2) for step in range(3)]
    rows = [f"{step},{m.share!r},{m.seconds},{m.phase}" for step, m in enumerate(good)]
    text = "\n".join(["step,share,seconds,phase", *rows, line, "4,0.9,2.0,1"])
    (tmp_path / SCHEDULE).write_text(text)
    assert read_schedule(tmp_path / SCHEDULE) == good
    assert read_schedule(tmp_path / "none.csv") == []
    (tmp_path / "binary.csv").write_bytes(bytes(range(256)))
    assert read_schedule(tmp_path / "binary.csv") == []
