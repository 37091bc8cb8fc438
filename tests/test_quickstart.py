"""A quickstart: once for real, otherwise with recorded stages; its plan, and the folder of an earlier one."""

import json
from dataclasses import dataclass, field, replace
from importlib import import_module
from pathlib import Path

import pytest

from tests.alike import thorough
from tests.folders import content
from xfm.cli.quickstart import (
    FULL_BUDGET,
    PLAN_FILE,
    SMOKE_BUDGET,
    Plan,
    _recipe,
    quickstart,
)
from xfm.config.encoders import FusionConfig, VisionConfig
from xfm.config.evaluation import EvaluationConfig
from xfm.config.model import ModelConfig
from xfm.config.plain import to_plain
from xfm.config.recipe import Recipe
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError
from xfm.core.results_folder import ResultOrigin, sign
from xfm.models.folder import load_model
from xfm.reports.scores import REQUIRED_KEYS, read_scores, write_json
from xfm.training.clock import SCHEDULE, ClockState, open_schedule, read_schedule

MODULE = import_module("xfm.cli.quickstart")
PLAN = Plan(budget=5, smoke=False, world="worlds/emoji", before=0.5, training=2.5)


class Clock:
    """What the quickstart's clock shows, in seconds; stages move it."""

    def __init__(self) -> None:
        self.now = 5000.0

    def perf_counter(self) -> float:
        return self.now


@dataclass
class Stages:
    """Records what the stages are asked for; the first `failing` trainings are stopped half-way.

    The world takes half a minute, a training what it is given and ten seconds more.
    """

    clock: Clock
    failing: int = 0
    worlds: list[tuple[Path, WorldConfig]] = field(default_factory=list)
    trainings: list[tuple[Recipe, bool]] = field(default_factory=list)
    evaluations: list[EvaluationConfig] = field(default_factory=list)

    def build_world(self, world: Path, config: WorldConfig) -> None:
        if world not in [built for built, _ in self.worlds]:
            self.clock.now += 30
        self.worlds.append((world, config))

    def pretrain(self, recipe: Recipe, folder: Path, resume: bool) -> None:
        self.trainings.append((recipe, resume))
        (folder / "config.yaml").write_text("kept")
        seconds, done = 60 * recipe.training.minutes, 0.0
        if (folder / SCHEDULE).exists():
            done = read_schedule(folder / SCHEDULE)[-1].seconds
        if len(self.trainings) <= self.failing:
            record(folder, seconds / 2, share=0.5)
            self.clock.now += seconds / 2
            raise KeyboardInterrupt
        record(folder, seconds)
        self.clock.now += seconds - done + 10
        (folder / "model").mkdir()

    def evaluate(self, model, world, folder, config, flags=()):
        assert model.is_dir()
        self.evaluations.append(config)
        self.clock.now += 60 * config.minutes
        write_json(folder / "evaluation.json", {"flags": to_plain(flags)})
        (folder / "report.html").write_text(f"report {len(self.evaluations)}")
        return {}


def record(folder: Path, seconds: float, share: float = 1.0, steps: int = 400) -> None:
    moments = [ClockState(share * step / steps, seconds * step / steps, 0) for step in range(steps + 1)]
    open_schedule(folder, moments).close()


@pytest.fixture
def stages(monkeypatch: pytest.MonkeyPatch) -> Stages:
    stages = Stages(Clock())
    monkeypatch.setattr("xfm.world.build_world", stages.build_world)
    monkeypatch.setattr("xfm.training.pretrain.pretrain", stages.pretrain)
    monkeypatch.setattr("xfm.evaluation.suite.evaluate", stages.evaluate)
    monkeypatch.setattr(MODULE, "time", stages.clock)
    return stages


def stop(folder: Path, stages: Stages, budget: float = 5) -> None:
    stages.failing = 1
    with pytest.raises(KeyboardInterrupt):
        quickstart(folder, budget)


# ---------------------------------------------------------------- budget and plan
@pytest.mark.parametrize("smoke", [False, True])
@pytest.mark.parametrize("budget", [3, 60])
def test_all_of_the_budget_is_used(tmp_path: Path, stages: Stages, budget: float, smoke: bool) -> None:
    began = stages.clock.now
    quickstart(tmp_path / "run", budget, smoke)
    took = (stages.clock.now - began) / 60
    assert took == pytest.approx(SMOKE_BUDGET if smoke else budget, abs=0.01)
    minutes = stages.trainings[0][0].training.minutes
    assert minutes + stages.evaluations[0].minutes == pytest.approx(took - 40 / 60, abs=0.01)
    assert stages.evaluations[0].minutes > 0.3 * min(FULL_BUDGET, took - 40 / 60)


def test_a_run_that_was_stopped_uses_what_it_had_left(tmp_path, stages):
    """However long the pause."""
    stop(tmp_path / "run", stages, 25)
    used = stages.trainings[0][0].training.minutes / 2 + 0.5
    stages.clock.now += 60 * 30
    began = stages.clock.now
    quickstart(tmp_path / "run", 25)
    assert (stages.clock.now - began) / 60 == pytest.approx(25 - used, abs=0.2)
    (first, _), (second, resume) = stages.trainings
    assert resume
    assert first == second


def test_a_stopped_evaluation_goes_on_with_its_minutes(tmp_path, stages, monkeypatch):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("xfm.evaluation.suite.evaluate", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quickstart(tmp_path / "run", 25)
    planned = json.loads((tmp_path / "run" / PLAN_FILE).read_text())["evaluation"]
    stages.clock.now += 10_000
    quickstart(tmp_path / "run", 25)
    assert [config.minutes for config in stages.evaluations] == [planned]
    assert len(stages.trainings) == 1


# ---------------------------------------------------------------- the way through the stages
@pytest.mark.parametrize("smoke", [False, True])
def test_every_stage_once(tmp_path: Path, stages: Stages, smoke: bool) -> None:
    folder = tmp_path / "runs" / "quickstart"
    assert quickstart(folder, 5, smoke) == folder / "report.html"
    (world, config), (recipe, resume) = stages.worlds[0], stages.trainings[0]
    plan = json.loads((folder / PLAN_FILE).read_text())
    assert (plan["budget"], plan["smoke"], plan["world"]) == (5, smoke, str(world))
    assert (recipe.training.minutes, recipe.root, resume) == (plan["training"], str(world), False)
    assert recipe == _recipe(Plan(**plan))
    assert (config.scale < 1) == smoke
    assert 0 < stages.evaluations[0].scale < 1  # five minutes are less than the full budget
    assert len(stages.worlds) == len(stages.trainings) == len(stages.evaluations) == 1


@pytest.mark.parametrize(("there", "trained"), [("", [(PLAN.training, False)]), ("model", [])])
def test_a_plan_is_followed_from_where_it_was_left(tmp_path, stages, there, trained):
    """Stopped before its training, a run begins it; a model that is trained is only evaluated."""
    folder = tmp_path / "run"
    (folder / there).mkdir(parents=True)
    PLAN.write(folder)
    quickstart(folder, 5)
    assert [(recipe.training.minutes, resume) for recipe, resume in stages.trainings] == trained
    assert len(stages.evaluations) == 1


@pytest.mark.parametrize(("budget", "smoke"), [(6, False), (5, True)])
def test_an_unfinished_run_of_another_kind_is_moved_aside(tmp_path, stages, budget, smoke):
    folder = tmp_path / "run"
    stop(folder, stages)
    before = content(folder)
    quickstart(folder, budget, smoke)
    assert content(tmp_path / "run-2") == before
    assert [resume for _, resume in stages.trainings] == [False, False]
    assert json.loads((folder / PLAN_FILE).read_text())["budget"] == budget


def test_finished_runs_are_kept(tmp_path: Path, stages: Stages) -> None:
    for _ in range(3):
        quickstart(tmp_path / "run", 5)
    for number, name in enumerate(("run-2", "run-3", "run"), start=1):
        assert (tmp_path / name / "report.html").read_text() == f"report {number}"


def notes(run: Path) -> None:
    (run / "notes.txt").write_text("mine")


def a_fine_tuning(run: Path) -> None:
    (run / "config.yaml").write_text("finetune:\n")
    (run / "metrics.json").write_text("{}")
    sign(run, ResultOrigin("finetune", about="vqa"))


@pytest.mark.parametrize(
    ("make", "said"),
    [(notes, "something else than a run .*"), (a_fine_tuning, "results of `xfm finetune`.*run-2")],
)
def test_something_else_in_the_folder_stays_where_it_is(tmp_path, stages, make, said):
    (run := tmp_path / "run").mkdir()
    make(run)
    before = content(tmp_path)
    with pytest.raises(UserError, match=f"run holds {said}"):
        quickstart(run, 5)
    assert content(tmp_path) == before
    assert stages.worlds == []


@thorough
def test_the_stages_themselves(tmp_path, monkeypatch, capsys):
    """World, training, evaluation and report for real, as small as they can be."""
    full = _recipe

    def narrow(plan: Plan) -> Recipe:
        recipe = full(plan)
        language = replace(recipe.model.language, width=32, depth=1, heads=2, mlp_width=32)
        model = ModelConfig(VisionConfig(96, 16, 32, 1, 2), language, FusionConfig(1, 2, 32), projection=8)
        return replace(recipe, model=model)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(MODULE, "SMOKE_SCALE", 0.002)
    monkeypatch.setattr(MODULE, "SMOKE_BUDGET", 0.01)  # leaves the least
    monkeypatch.setattr(MODULE, "_recipe", narrow)
    small = EvaluationConfig(scale=0.001, minutes=0.2, baselines=False)
    monkeypatch.setattr(MODULE, "_evaluation", lambda plan: small)
    report = quickstart(Path("runs/quickstart"), smoke=True)
    assert report == Path("runs/quickstart/report.html")
    assert "</html>" in report.read_text()
    assert set(REQUIRED_KEYS) <= set(read_scores(report.with_name("metrics.json")))
    assert load_model(report.with_name("model")).provenance["recipe"] == "nano"
    assert (tmp_path / "worlds" / "emoji-smoke" / "world.json").exists()
    assert str(report) in capsys.readouterr().out
