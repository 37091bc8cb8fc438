"""`xfm pretrain`: its options, and what it checks and says around the work."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

    from xfm.config.recipe import Recipe
    from xfm.config.training import Change


def parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm pretrain`; their defaults are the values of the recipe that the options name."""
    from xfm.config.load import RECIPE_ENV, read_recipe, recipe_names
    from xfm.config.options import add_fields, new_parser
    from xfm.config.recipe import Recipe

    recipe = _chosen_recipe(options)
    parser = new_parser(
        RECIPE_ENV,
        prog="xfm pretrain",
        usage="xfm pretrain [--recipe NAME] [--out FOLDER] [--resume] [--FIELD VALUE ...]",
        description="Pre-train a recipe: text, pictures, pairs and regions in, one model out. The run\n"
        "folder holds the resolved config.yaml, log.jsonl, tensorboard/, checkpoints/ and the\n"
        f"finished model/. The values below are those of the recipe {recipe}.",
        epilog="examples:\n"
        "  xfm pretrain --recipe nano\n"
        "  xfm pretrain --recipe small --out runs/mine --root /data/emoji --training.optim.lr 3e-4\n"
        "  xfm pretrain --out runs/mine --resume\n"
        "  torchrun --nproc-per-node 8 -m xfm.cli pretrain --recipe base\n"
        f"  {RECIPE_ENV}_TRAINING__STEPS=100 xfm pretrain      any option from the environment",
    )
    known = ", ".join(recipe_names())
    parser.add_argument("--recipe", type=str, default=recipe, help=f"one of {known}, or a YAML file")
    parser.add_argument("--out", type=str, default=None, help="run folder; runs/NAME if not given")
    parser.add_argument("--resume", action="store_true", help="continue the run in the out folder exactly")
    parser.add_argument(
        "--allow-changed",
        type=str,
        default="",
        help="with --resume, what may be otherwise than before: data, processes, or both with a comma",
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--compile", action="store_true", help="run the encoders through torch.compile (for GPUs)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    add_fields(parser, Recipe, values=read_recipe(recipe), source=f"recipe {recipe}")
    return parser


def _chosen_recipe(options: Sequence[str]) -> str:
    """The recipe that the options name; to resume, the configuration that the run's folder keeps."""
    from xfm.config.load import RECIPE_ENV, read_recipe
    from xfm.paths import home_path

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe", nargs="?", default=os.environ.get(f"{RECIPE_ENV}_RECIPE"))
    place = os.environ.get(f"{RECIPE_ENV}_OUT", os.environ.get(f"{RECIPE_ENV}_FOLDER"))
    first.add_argument("--out", "--folder", nargs="?", default=place)
    first.add_argument("--resume", action="store_true")
    known = first.parse_known_args(options)[0]
    recipe = known.recipe or "nano"
    if not known.resume:
        return recipe
    folder = home_path(known.out or Path("runs") / read_recipe(recipe).get("name", "custom"))
    kept = folder / "config.yaml"
    return str(kept) if os.path.lexists(kept) else recipe


def run(chosen: "Namespace") -> None:
    """Pre-train what the options say, or resume."""
    from xfm.config.next_command import command_line
    from xfm.config.options import assemble
    from xfm.config.recipe import Recipe

    recipe, allowed = assemble(Recipe, chosen), _changes(chosen.allow_changed)
    folder = Path(chosen.out or Path("runs") / recipe.name)
    first = os.environ.get("RANK", "0") == "0"
    for sentence in _notes(recipe, chosen) if first else ():
        print(f"Note: {sentence}.", flush=True)
    from xfm.training.bad_log import bad_records
    from xfm.training.pretrain import pretrain

    model = pretrain(
        recipe,
        folder,
        resume=chosen.resume,
        progress=not chosen.quiet,
        device=chosen.device,
        compiled=chosen.compile,
        allowed=allowed,
    )
    if first:
        has_tasks = (Path(recipe.root) / "tasks").is_dir()
        line = command_line("evaluate", model, world=recipe.root)
        hint = f"; evaluate it with `{line}`" if has_tasks else ""
        print(f"The model is in {model}{hint}.")
        if said := bad_records(folder):
            print(f"Note: {said}")
        print(_flagged(recipe, chosen.recipe, folder), end="")


def _flagged(recipe: "Recipe", source: str, folder: Path) -> str:
    """The last lines: what was out of the ordinary."""
    from xfm.config.load import read_recipe
    from xfm.training.flags import last_lines, of_pretraining

    ends = [stretch.stop for stretch in recipe.stretches()]
    wanted = int(read_recipe(source).get("training", {}).get("steps", 0))
    return last_lines(of_pretraining(recipe.name, recipe.training.steps, folder, ends, wanted))


def _changes(names: str) -> "frozenset[Change]":
    """What a resumed run may have otherwise."""
    from xfm.config.training import Change

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in [*Change]]:
        raise UserError(f"--allow-changed {unknown[0]}: unknown; known: {', '.join(Change)}")
    return frozenset(map(Change, wanted))


def _notes(recipe: "Recipe", chosen: "Namespace") -> list[str]:
    """What to know before a run: options that do not hold in every phase, a recipe that is not read."""
    from xfm.config.load import read_recipe
    from xfm.config.options import parse

    options = ["--recipe", chosen.recipe, *(["--out", chosen.out] if chosen.out else [])]
    source = _chosen_recipe([*options, "--resume"] if chosen.resume else options)
    notes = recipe.overruled(parse(type(recipe), values=read_recipe(source), source=f"recipe {source}"))
    if source != chosen.recipe:
        notes.append(f"the run goes on with its own {source}; --recipe {chosen.recipe} is not read")
    return notes
