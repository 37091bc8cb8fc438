"""`xfm plan`: what a pre-training takes on given GPUs, and which settings fit."""

import os
import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.cli._options import option
from xfm.config.load import read_recipe, recipe_names
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, early_word, new_parser
from xfm.config.plain import to_plain
from xfm.config.planning import GB, PlanConfig, gpu_of
from xfm.config.recipe import Recipe
from xfm.core.errors import UserError
from xfm.core.paths import home_path

if TYPE_CHECKING:
    from xfm.training.planning.planner import PretrainingPlan, VectorCost


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm plan`; those of the recipe have its values."""
    named = early_word(options, "recipe", recipe_names())
    recipe = named or os.environ.get("XFM_PLAN_RECIPE") or "base"
    parser = new_parser(
        words=["recipe"],
        usage="xfm plan [RECIPE] [--gpus N] [--gpu NAME] [--FIELD VALUE ...]",
        description="Predict what a pre-training takes, without training anything: memory of a process by\n"
        "formula, time as the operations at a share of the GPU's peak, cost, and which settings fit.",
        examples="  xfm plan --recipe base --gpus 32 --gpu h100\n"
        "  xfm plan base --gpus 8 --gpu a100-40gb --price 1.5 --json plan.json\n"
        "  xfm plan base --gpus 16 --gpu-memory 96 --gpu-tflops 400 --share 0.3\n"
        "  xfm plan base --predict --gpu l4 --price 0.8\n"
        "  xfm plan base --gpus 64 --training.activation-checkpointing full --training.steps 100000",
    )
    option(parser, "--recipe", f"one of {', '.join(recipe_names())}, or a YAML file", recipe)
    option(parser, "--predict", "what a million vectors take, in place of a run", False)
    option(parser, "--json", "file to write the plan to, too")
    add_fields(parser, PlanConfig)
    add_fields(parser, Recipe, values=read_recipe(recipe), source=f"recipe {recipe}")
    return parser


def run(chosen: Namespace) -> None:
    recipe, config = assemble(Recipe, chosen), assemble(PlanConfig, chosen)
    from xfm.reports.scores import write_json
    from xfm.training.planning.planner import plan, vector_costs

    if chosen.predict:
        if config.margin != PlanConfig.margin:
            raise UserError("--margin is of a run's memory: leave it out with --predict")
        costs = vector_costs(recipe, config)
        plain, told = to_plain(costs), vector_lines(costs, config)
    else:
        found = plan(recipe, config)
        plain, told = found.plain(), lines(found, chosen.recipe)
    if chosen.json:
        write_json(home_path(Path(chosen.json)), plain)
    print("\n".join(told))


def vector_lines(costs: "Mapping[str, VectorCost]", config: PlanConfig) -> Iterator[str]:
    """The cost of vectors as text."""
    reached = f"of whose peak {config.share:.0%} is reached by assumption (--share)"
    yield f"on {config.gpus} x {gpu_of(config).name}, {reached}:"
    for name, one in costs.items():
        cost = "" if one.cost is None else f", cost {_digits(one.cost, 2)}"
        told = f"{one.flops / 1e9:.1f} GFLOP each, {one.rate:,.0f} a second"
        yield f"{name}: {told}; a million in {_digits(one.hours, 1)} hours{cost}"
    yield "Note: reading and decoding are not counted; a picture may take longer to decode than to encode."


def lines(found: "PretrainingPlan", recipe: str) -> Iterator[str]:
    """The plan as text."""
    config, gpu, first = found.config, found.gpu, found.ladder[0]
    peak, room = gpu.peak(found.precision), found.room / GB
    steps = "until the clock ends it" if found.steps is None else f"{found.steps:,} steps"
    yield f"{found.recipe}: {found.parameters / 1e6:,.0f} M parameters, {found.precision}, {steps}"
    yield f"on {config.gpus} x {gpu.name}: {gpu.memory:g} GB each, of which {room:.1f} may be taken;"
    yield f"peak {peak:g} TFLOP/s, of which a step reaches {config.share:.0%} by assumption (--share)"
    yield f"\nGB of a process, {first.memory.moment}, as the recipe is:"
    for name, size in sorted(first.memory.parts.items(), key=lambda one: -one[1]):
        yield f"{size / GB:>9.2f} {name}"
    yield f"{first.memory.total / GB:>9.2f} together; most is for {first.memory.largest}"
    width = max(len(rung.name) for rung in found.ladder)
    price = f"{'cost':>12}" if config.price else ""
    yield f"\n{'settings':<{width}} {'GB':>8} {'fits':>5} {'TFLOP':>9} {'s/step':>8} {'hours':>8}{price}"
    for rung in found.ladder:
        cost = "" if rung.cost is None else f"{rung.cost:>12,.0f}"
        fits, size = "yes" if rung.fits else "no", rung.memory.total / GB
        numbers = f"{_digits(rung.flops / 1e12, 1):>9} {_digits(rung.seconds, 3):>8} {rung.hours:>8.1f}"
        yield f"{rung.name:<{width}} {size:>8.2f} {fits:>5} {numbers}{cost}"
    yield ""
    for note in found.notes:
        yield f"Note: {note}."
    if (take := found.chosen) is None:
        yield "Nothing of this fits: take more GPUs or larger ones, or smaller batches."
    else:
        words = shlex.join(["xfm", "pretrain", "--recipe", recipe, *take.options])
        each = max(count for count in range(1, 9) if config.gpus % count == 0)  # of a machine
        machines, where, nodes = config.gpus // each, "", ""
        if machines > 1:
            where = f", on each of {machines} machines, of which HOST is one"
            nodes = f"--nnodes {machines} "
        rendezvous = " --rdzv-backend c10d --rdzv-endpoint HOST:29500" if nodes else ""
        yield f"Take: {take.name}, beside the options that you gave here{where}:"
        yield f"  torchrun {nodes}--nproc-per-node {each}{rendezvous} -m {words}"


def _digits(number: float, places: int) -> str:
    """So many places behind the point; of a number below one, three digits that say something."""
    return f"{number:,.{places}f}" if number >= 1 else f"{number:#.3g}"
