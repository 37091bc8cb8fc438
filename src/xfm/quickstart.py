"""Everything in one command: embedded world, pre-training from scratch, evaluation, report."""

import json
import math
import os
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.config.evaluation import EvaluationConfig
from xfm.config.load import load_recipe
from xfm.config.recipe import Recipe
from xfm.config.world import WorldConfig
from xfm.errors import UserError
from xfm.files import read_text, write_text, writing
from xfm.locks import locked
from xfm.results_folder import free_name, holding

if TYPE_CHECKING:
    from xfm.data.schema import Batch
    from xfm.training.flags import Flag

FULL_BUDGET = 25.0
"""Minutes that the schedule is made for on two cores."""

SMOKE_BUDGET, SMOKE_SCALE = 3.0, 0.02
PLAN_FILE = "quickstart.json"


@dataclass(frozen=True)
class Plan:
    """What a quickstart does; kept in its folder, so that a run that was stopped goes on with it.

    Attributes:
        budget: minutes for everything.
        smoke: the same path on a tiny world.
        world: folder of the world.
        steps: pre-training steps that fit the budget on this machine.
        step_seconds: the measured time of a step, averaged over the curriculum.
    """

    budget: float
    smoke: bool
    world: str
    steps: int
    step_seconds: float

    def write(self, folder: Path) -> None:
        """Keep the plan in the run folder."""
        write_text(folder / PLAN_FILE, json.dumps(asdict(self), indent=2) + "\n")


def quickstart(folder: Path, budget: float = FULL_BUDGET, smoke: bool = False) -> Path:
    """Build the world, pre-train `nano`, evaluate it and write the report.

    A run that was stopped continues. A finished run, or one with another budget, is moved aside; a folder
    that holds something else is never touched.

    Args:
        folder: run folder.
        budget: minutes for everything; the schedule is fitted to what is left after building the world,
            by the measured speed of this machine.
        smoke: walk the same path on a tiny world and a tiny schedule.

    Returns:
        Path of the report.

    Raises:
        UserError: the budget is out of range, the folder is not one for a run, or a stage failed.
    """
    if not 1 <= budget <= 24 * 60:
        raise UserError(f"--budget {budget:g}: give the minutes for all stages, between 1 and 1440")
    world = Path("worlds/emoji-smoke" if smoke else "worlds/emoji")
    _check_folder(folder, world)
    with locked(folder, beside=True):
        return _quickstart(folder, world, budget, smoke)


def _quickstart(folder: Path, world: Path, budget: float, smoke: bool) -> Path:
    from xfm.evaluation.kept_models import kept_models, listing, use_command
    from xfm.evaluation.run import evaluate
    from xfm.reports.stored import stored_flags
    from xfm.reports.summary import summary
    from xfm.training.flags import last_lines, recommended_steps
    from xfm.training.pretrain import MODEL_FOLDER, pretrain
    from xfm.world import build_world

    began = time.perf_counter()
    print(f"1/4 The embedded world: {world}", flush=True)
    build_world(world, WorldConfig(scale=SMOKE_SCALE) if smoke else WorldConfig())

    plan = _unfinished(folder, budget, smoke)
    resume = plan is not None
    if plan is None:
        _move_aside(folder)
        deadline = began + (SMOKE_BUDGET if smoke else budget) * 60
        plan = make_plan(budget, smoke, world, deadline)
        with writing(folder, "and run again"):
            folder.mkdir(parents=True, exist_ok=True)
            plan.write(folder)
    recipe = _recipe(world, smoke, plan.steps)
    print(f"2/4 Pre-training {recipe.name} from scratch: {plan.steps} steps", flush=True)
    model = folder / MODEL_FOLDER
    if not model.exists():
        pretrain(recipe, folder, resume=resume and (folder / "config.yaml").exists())
    print("3/4 Evaluating", flush=True)
    flags = plan_flags(plan, recommended_steps(recipe.name))
    scores = evaluate(model, world, folder, _evaluation(plan.budget, smoke), flags=flags)
    report = folder / "report.html"
    minutes = (time.perf_counter() - began) / 60
    print(
        f"4/4 Done in {minutes:.1f} minutes: {len(scores)} scores.\n{summary(scores)}\n    Report:  {report}"
    )
    print(f"    Scores:  {folder / 'metrics.json'}\n    Model:   {model}")
    print(f"    Use it:  {use_command(model, world, folder)}")
    if models := listing(kept_models(folder, world)):
        print(models)
    print(last_lines(stored_flags(folder)), end="")
    return report


def plan_flags(plan: Plan, wanted: int) -> "list[Flag]":
    """What is out of the ordinary in a plan: a smoke run, or a machine too slow for the recipe's steps.

    Args:
        plan: the plan.
        wanted: steps of the recipe.
    """
    from xfm.training.flags import Flag, What, shortened

    if plan.smoke:
        text = f"{plan.steps} steps on a tiny world show that everything works, and no more"
        return [Flag(What.SMOKE, text)]
    share = PRETRAINING_SHARE if plan.budget < FULL_BUDGET else 1.0
    more = math.ceil(plan.budget + (wanted - plan.steps) * plan.step_seconds / 60 / share)
    speed = f"this machine was measured at {plan.step_seconds:.2g} s a step"
    remedy = f"{speed}, more fit into --budget {more}"
    short = shortened(plan.steps, wanted, "the recipe has", remedy)
    return [short] if short else []


def make_plan(budget: float, smoke: bool, world: Path, deadline: float) -> Plan:
    """Fit the number of pre-training steps to the time.

    Args:
        budget: minutes for everything.
        smoke: whether this is a smoke run.
        world: the world's folder.
        deadline: when everything shall be done, on the clock of `time.perf_counter`.
    """
    share = 0.35 if smoke else PRETRAINING_SHARE
    step_seconds = measure_step(_recipe(world, smoke, steps=100))
    # The evaluation takes no longer in a larger budget: what is above the full one is for pre-training.
    above = max(0.0, budget - FULL_BUDGET) * 60
    seconds = share * (deadline - time.perf_counter() - above) + above
    steps = max(4, int(seconds / step_seconds))
    return Plan(budget, smoke, str(world), steps, round(step_seconds, 4))


PRETRAINING_SHARE = 0.58
"""Of the time, up to the full budget, after building the world and measuring a step. The rest is for the
evaluation, which takes a third, and for what a machine becomes slower while it works."""


def measure_step(recipe: Recipe, steps: int = 12) -> float:
    """Mean seconds of a step over the recipe's curriculum, measured on a model that is thrown away."""
    import torch

    from xfm.data.schema import Batch
    from xfm.modeling.gradients import PRETRAINING
    from xfm.objectives.losses import Losses
    from xfm.objectives.step import pretraining_losses
    from xfm.training import distributed
    from xfm.training.loop import train
    from xfm.training.pretrain import CurriculumData, build_model

    process = distributed.Process(rank=0, world=1, device=torch.device("cpu"))
    data, model, total = CurriculumData(recipe, process), build_model(recipe), 0.0
    config = replace(recipe.training, steps=steps)

    def losses(batch: Batch, generator: torch.Generator) -> Losses:
        return pretraining_losses(model, batch, PRETRAINING, data.stretch(batch.step).weights, generator)

    for stretch in data.stretches:
        clock = _Clock(data.batches, stretch.start)
        train(model, losses, clock.batches, config, progress=False)
        # The first steps set up kernels, and find batches that were loaded while nothing was trained.
        spans = sorted(later - earlier for earlier, later in pairwise(clock.times[min(3, steps // 2) :]))
        # Without the slowest: other work that comes and goes must not shorten the whole run.
        total += statistics.mean(spans[: max(1, len(spans) * 3 // 4)]) * (stretch.stop - stretch.start)
    return total / recipe.training.steps


class _Clock:
    """Passes batches on, from `first` of the stream, and notes when each was asked for."""

    def __init__(self, stream: "Callable[[int, int], Iterator[Batch]]", first: int) -> None:
        self.stream, self.first = stream, first
        self.times: list[float] = []

    def batches(self, start: int, stop: int) -> "Iterator[Batch]":
        """The batches of steps `start` to `stop`."""
        for batch in self.stream(self.first + start, self.first + stop):
            self.times.append(time.perf_counter())
            yield batch


def _recipe(world: Path, smoke: bool, steps: int) -> Recipe:
    options = ["--root", str(world), "--training.steps", str(steps)]
    if smoke:
        options += ["--training.optim.warmup", "2"]
    return load_recipe("nano", options)


def _evaluation(budget: float, smoke: bool) -> EvaluationConfig:
    # What pre-training gave is asked of `xfm evaluate`: half as many fine-tunings again have no room here.
    return EvaluationConfig(scale=0.02 if smoke else min(1.0, budget / FULL_BUDGET), scratch=False)


def _unfinished(folder: Path, budget: float, smoke: bool) -> Plan | None:
    path = folder / PLAN_FILE
    if not path.is_file() or (folder / "report.html").exists():
        return None
    try:
        plan = Plan(**json.loads(read_text(path)))
    except (OSError, ValueError, TypeError, RecursionError):  # damaged: the folder is moved aside
        return None
    if type(plan.steps) is not int or plan.steps < 1:
        return None
    return plan if (plan.budget, plan.smoke) == (budget, smoke) else None


def _check_folder(folder: Path, world: Path) -> None:
    """Refuse a folder that must not be moved aside later, before anything is built."""
    real, here, data = folder.resolve(), Path.cwd().resolve(), world.resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder, which may be new")
    if here.is_relative_to(real):
        raise UserError(f"--out {folder} holds the current folder; choose one below it")
    if data.is_relative_to(real) or real.is_relative_to(data):
        raise UserError(f"--out {folder} and the world {world} hold one another; choose another folder")
    if _is_used(folder) and not any((folder / name).is_file() for name in (PLAN_FILE, "config.yaml")):
        raise UserError(
            f"--out {folder} holds something else than a run ({PLAN_FILE} or config.yaml); "
            "choose a new folder"
        )
    found = holding(folder)
    if found and found.maker and found.maker.command not in ("", "pretrain", "evaluate"):
        raise UserError(
            f"--out {folder} holds {found.what}: give another folder, such as --out {free_name(folder)}"
        )


def _is_used(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _move_aside(folder: Path) -> None:
    """Give the folder of an earlier run, from `_check_folder`, another name."""
    if not _is_used(folder):
        return
    folder = folder.resolve()
    number = 1
    while (aside := folder.with_name(f"{folder.name}.{number}")).exists():
        number += 1
    os.replace(folder, aside)
    print(f"    The run that was in {folder} is now in {aside}.", flush=True)
