"""`xfm pretrain`: its options, and what it checks and says around the work."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from xfm.cli._options import option, shared
from xfm.config.load import RECIPE_ENV, read_recipe, recipe_names
from xfm.config.next_command import command_line
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, new_parser, parse
from xfm.config.recipe import Recipe
from xfm.config.training import Change
from xfm.core.paths import home_path


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm pretrain`; their defaults are the values of the recipe that the options name."""
    recipe = _chosen_recipe(options)
    parser = new_parser(
        usage="xfm pretrain [--recipe NAME] [--out FOLDER] [--resume] [--FIELD VALUE ...]",
        description="Pre-train a recipe: text, pictures, pairs and regions in, one model out. The run\n"
        "folder holds the resolved config.yaml, schedule.csv, log.jsonl, checkpoints/ and the\n"
        f"finished model/. The values below are those of the recipe {recipe}.",
        examples="  xfm pretrain --recipe nano\n"
        "  xfm pretrain --recipe small --out runs/mine --root /data/emoji --training.optim.lr 3e-4\n"
        "  xfm pretrain --recipe nano --training.minutes 20      the clock decides when phases and run end\n"
        "  xfm pretrain --out runs/mine --resume\n"
        "  torchrun --nproc-per-node 8 -m xfm pretrain --recipe base\n"
        f"  {RECIPE_ENV}_TRAINING__STEPS=100 xfm pretrain      any option from the environment",
    )
    known = ", ".join(recipe_names())
    option(parser, "--recipe", f"one of {known}, or a YAML file", recipe)
    option(parser, "--out", "run folder; runs/NAME if not given")
    shared(parser, "--resume", "--device", "--quiet")
    changed = "what --resume may find changed: data, processes or data,processes"
    option(parser, "--allow-changed", changed, [], type=list[Change])
    option(parser, "--compile", "run the encoders through torch.compile (for GPUs)", False)
    add_fields(parser, Recipe, values=read_recipe(recipe), source=f"recipe {recipe}")
    return parser


def _chosen_recipe(options: Sequence[str]) -> str:
    """The recipe that the options name; to resume, the configuration that a run's folder keeps."""
    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe", nargs="?", default=os.environ.get(f"{RECIPE_ENV}_RECIPE"))
    first.add_argument("--out", nargs="?", default=os.environ.get(f"{RECIPE_ENV}_OUT"))
    first.add_argument("--resume", action="store_true")
    known = first.parse_known_args(options)[0]
    recipe = known.recipe or "nano"
    if not known.resume:
        return recipe
    folder = home_path(known.out or Path("runs") / read_recipe(recipe).get("name", "custom"))
    kept = folder / "config.yaml"
    return str(kept) if os.path.lexists(kept) else recipe


def run(chosen: Namespace) -> None:
    recipe = assemble(Recipe, chosen)
    folder = Path(chosen.out or Path("runs") / recipe.name)
    first = os.environ.get("RANK", "0") == "0"
    if first:  # options that do not hold in every phase, and a recipe that is not read
        options = ["--recipe", chosen.recipe, *(["--out", chosen.out] if chosen.out else [])]
        source = _chosen_recipe([*options, "--resume"] if chosen.resume else options)
        notes = recipe.overruled(parse(type(recipe), values=read_recipe(source), source=f"recipe {source}"))
        if source != chosen.recipe:
            notes.append(f"the run goes on with its own {source}; --recipe {chosen.recipe} is not read")
        for sentence in notes:
            print(f"Note: {sentence}.", flush=True)
    from xfm.training.pretrain import pretrain

    how: dict[str, Any] = {"device": chosen.device, "compiled": chosen.compile, "progress": not chosen.quiet}
    model = pretrain(recipe, folder, resume=chosen.resume, allowed=frozenset(chosen.allow_changed), **how)
    if first:
        has_tasks = (Path(recipe.root) / "tasks").is_dir()
        line = command_line("evaluate", model, world=recipe.root)
        hint = f"; evaluate it with `{line}`" if has_tasks else ""
        print(f"The model is in {model}{hint}.")
        from xfm.training.clock import SCHEDULE, read_schedule
        from xfm.training.flags import last_lines, of_pretraining, recipe_steps

        steps, minutes = len(read_schedule(folder / SCHEDULE)) - 1, recipe.training.minutes
        flags = of_pretraining(recipe.name, steps, folder, recipe_steps(chosen.recipe), minutes)
        print(last_lines(flags), end="")
