"""`xfm quickstart`: embedded world, pre-training from scratch, evaluation and report in one command."""

import math
import os
import time
from collections.abc import Sequence
from dataclasses import MISSING, asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.cli._options import option
from xfm.config.evaluation import EvaluationConfig, Part, RetrievalConfig
from xfm.config.load import load_recipe
from xfm.config.options import ArgumentParser, Namespace, new_parser
from xfm.config.recipe import Recipe
from xfm.config.typed import Limited, build, limited
from xfm.config.world import WorldConfig
from xfm.core.errors import UserError
from xfm.core.files import read_json_or_nothing
from xfm.core.locks import locked
from xfm.core.results_folder import free_name, holding, unused

if TYPE_CHECKING:
    from xfm.training.flags import Flag

FULL_BUDGET = 12.0
"""Minutes that the schedule is made for on two cores."""

SMOKE_BUDGET, SMOKE_SCALE = 3.0, 0.02
PRETRAINING_SHARE, SMOKE_SHARE = 0.65, 0.35
"""Of the minutes after building the world, up to the full budget. The rest is for the evaluation, which takes
no longer in a larger budget: what is above the full one is for pre-training."""
LEAST_TRAINING = LEAST_EVALUATION = 0.1
"""Minutes of what would have none left."""
PLAN_FILE, RECIPE = "quickstart.json", "nano"


@dataclass(frozen=True)
class Plan(Limited):
    """What a quickstart does, in minutes for everything, used before the pre-training, of pre-training and of
    evaluation (None until it begins, and takes what is left); kept in its folder, so that a run that was
    stopped goes on with it."""

    budget: float
    smoke: bool
    world: str
    before: float = limited(MISSING, 0)
    training: float = limited(MISSING, 1e-3)
    evaluation: float | None = limited(None, 0)

    def write(self, folder: Path) -> None:
        """Keep the plan in the run folder."""
        from xfm.reports.scores import write_json

        write_json(folder / PLAN_FILE, asdict(self))


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        prog="xfm quickstart",
        description="Build the embedded world, pre-train `nano` on it from scratch, evaluate the model,\n"
        "and write report.html and metrics.json.",
        examples="  xfm quickstart                the full path, at most 12 minutes on two cores\n"
        "  xfm quickstart --smoke        the same path on a tiny budget\n"
        "  xfm quickstart --budget 25    train longer",
    )
    option(parser, "--out", "run folder", "runs/quickstart")
    option(parser, "--budget", "minutes for all stages; all of them are used", FULL_BUDGET)
    option(parser, "--smoke", "the same path on a tiny budget", False)
    return parser


def run(chosen: Namespace) -> None:
    quickstart(Path(chosen.out), chosen.budget, chosen.smoke)


def quickstart(folder: Path, budget: float = FULL_BUDGET, smoke: bool = False) -> Path:
    """Build the world, pre-train `nano`, evaluate it and write the report, whose path is returned.

    A run that was stopped continues. A finished run, or one with another budget (in minutes, all of which
    are used), is moved aside; a folder that holds something else is never touched (UserError).
    """
    if not 1 <= budget <= 24 * 60:
        raise UserError(f"--budget {budget:g}: give the minutes for all stages, between 1 and 1440")
    world = Path("worlds/emoji-smoke" if smoke else "worlds/emoji")
    real, here, data = folder.resolve(), Path.cwd().resolve(), world.resolve()
    if folder.exists() and not folder.is_dir():
        raise UserError(f"--out {folder} is a file; name a folder, which may be new")
    if here.is_relative_to(real):
        raise UserError(f"--out {folder} holds the current folder; choose one below it")
    if data.is_relative_to(real) or real.is_relative_to(data):
        raise UserError(f"--out {folder} and the world {world} hold one another; choose another folder")
    if unused(folder) != folder and not any((folder / name).is_file() for name in (PLAN_FILE, "config.yaml")):
        raise UserError(
            f"--out {folder} holds something else than a run ({PLAN_FILE} or config.yaml); "
            "choose a new folder"
        )
    what, maker = holding(folder) or ("", None)
    if maker and maker.command not in ("", "pretrain", "evaluate"):
        raise UserError(
            f"--out {folder} holds {what}: give another folder, such as --out {free_name(folder)}"
        )
    with locked(folder, beside=True):
        return _quickstart(folder, world, budget, smoke)


def _quickstart(folder: Path, world: Path, budget: float, smoke: bool) -> Path:
    from xfm.config.next_command import command_line
    from xfm.evaluation.parts import listing, saved_models, use_command
    from xfm.evaluation.suite import evaluate
    from xfm.reports.page import summary
    from xfm.reports.scores import DETAILS, read_object
    from xfm.training.flags import last_lines, read_flags
    from xfm.training.pretrain import MODEL_FOLDER, pretrain
    from xfm.world import build_world

    began = time.perf_counter()
    print(f"1/4 The embedded world: {world}", flush=True)
    build_world(world, WorldConfig(scale=SMOKE_SCALE) if smoke else WorldConfig())

    plan = _unfinished(folder, budget, smoke)
    resume = plan is not None
    if plan is None:
        _move_aside(folder)
        plan = _make_plan(budget, smoke, world, (time.perf_counter() - began) / 60)
        plan.write(folder)
    recipe, model = _recipe(plan), folder / MODEL_FOLDER
    before = " (done before)" if model.exists() else ""
    print(f"2/4 Pre-training {recipe.name} from scratch: {plan.training:.1f} minutes{before}", flush=True)
    if not before:
        pretrain(recipe, folder, resume=resume and (folder / "config.yaml").exists())
    if plan.evaluation is None:
        # Of a run that was stopped counts what is recorded: neither the pause, nor what a kill has lost.
        used = plan.before + _recorded(folder)[1] / 60 if resume else (time.perf_counter() - began) / 60
        left = (SMOKE_BUDGET if smoke else budget) - used
        plan = replace(plan, evaluation=round(max(LEAST_EVALUATION, left), 3))
        plan.write(folder)
    print(f"3/4 Evaluating: {plan.evaluation:.1f} minutes", flush=True)
    steps, seconds = _recorded(folder)
    scores = evaluate(model, world, folder, _evaluation(plan), flags=plan_flags(plan, steps, seconds))
    report, minutes = folder / "report.html", (time.perf_counter() - began) / 60
    print(f"4/4 Done in {minutes:.1f} minutes: {len(scores)} scores.\n{summary(scores)}")
    print(f"    Report:  {report}\n    Scores:  {folder / 'metrics.json'}\n    Model:   {model}")
    print(f"    Use it:  {use_command(model, world, folder)}")
    if models := listing(saved_models(folder, world)):
        print(models)
    print(f"    Open it: {command_line('demo', folder, '--open')}")
    print(last_lines(read_flags(read_object(folder / DETAILS))), end="")
    return report


def _make_plan(budget: float, smoke: bool, world: Path, before: float) -> Plan:
    above = 0.0 if smoke else max(0.0, budget - FULL_BUDGET)
    left = (SMOKE_BUDGET if smoke else budget) - before - above
    share = SMOKE_SHARE if smoke else PRETRAINING_SHARE
    training = max(LEAST_TRAINING, share * left + above)
    return Plan(budget, smoke, str(world), round(before, 3), round(training, 3))


def plan_flags(plan: Plan, steps: int, seconds: float) -> "list[Flag]":
    """What is out of the ordinary: a smoke run, or fewer steps than the recipe has."""
    from xfm.training.flags import Flag, FlagKind, recommended_steps, shortened

    if plan.smoke:
        text = f"{steps} steps on a tiny world show that everything works, and no more"
        return [Flag(FlagKind.SMOKE, text)]
    wanted = recommended_steps(RECIPE)
    share = PRETRAINING_SHARE if plan.budget < FULL_BUDGET else 1.0
    more = math.ceil(plan.budget + (wanted - steps) * seconds / max(1, steps) / 60 / share)
    remedy = f"they took {seconds / 60:.1f} minutes on this machine, and all of them fit into --budget {more}"
    short = shortened(steps, wanted, "the recipe has", remedy)
    return [short] if short else []


def _recorded(folder: Path) -> tuple[int, float]:
    from xfm.training.clock import SCHEDULE, read_schedule

    record = read_schedule(folder / SCHEDULE)
    return (len(record) - 1, record[-1].seconds) if record else (0, 0.0)


def _recipe(plan: Plan) -> Recipe:
    options = ["--root", plan.world, "--training.minutes", str(plan.training)]
    if plan.smoke:
        options += ["--training.optim.warmup", "2"]
    return load_recipe(RECIPE, options)


def _evaluation(plan: Plan) -> EvaluationConfig:
    import torch

    from xfm.training.distributed import pick_device

    # Four minutes have no room for the baselines of `xfm evaluate`, nor for another task of pairs of texts.
    scale = 0.02 if plan.smoke else min(1.0, plan.budget / FULL_BUDGET)
    return EvaluationConfig(
        scale=scale,
        minutes=plan.evaluation or 0.0,
        baselines=False,
        processes=min(4, torch.get_num_threads()) if pick_device().type == "cpu" else 1,
        parts=[part for part in Part if part is not Part.PARAPHRASE],
        retrieval=RetrievalConfig(held_out_rows=400),
    )


def _unfinished(folder: Path, budget: float, smoke: bool) -> Plan | None:
    try:
        plan = build(Plan, read_json_or_nothing(folder / PLAN_FILE))
    except UserError:  # there is none, or it is damaged: the folder is moved aside
        return None
    ours = (plan.budget, plan.smoke) == (budget, smoke) and not (folder / "report.html").exists()
    return plan if ours else None


def _move_aside(folder: Path) -> None:
    if unused(folder) == folder:
        return
    folder = folder.resolve()
    aside = free_name(folder)
    os.replace(folder, aside)
    print(f"    The run that was in {folder} is now in {aside}.", flush=True)
