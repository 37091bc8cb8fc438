"""`xfm data`: the index of shards, and a look at what a recipe reads."""

import os
from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import option
from xfm.config.load import read_recipe, recipe_names
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, early_word, new_parser
from xfm.config.recipe import Recipe
from xfm.config.typed import check_range
from xfm.core.errors import UserError, amount
from xfm.core.paths import home_path
from xfm.core.processes import cores

ACTIONS = {
    "index": "write the index of the tar shards in a folder, by which they open at once",
    "inspect": "draw the next batches of a recipe or run, with boxes and masks",
}


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm data`; `inspect` has every field of the recipe that the options name."""
    inspects = early_word(options, "action", [*ACTIONS]) == "inspect"
    recipe = early_word([one for one in options if one not in ACTIONS], "recipe", recipe_names())
    actions = "\n".join(f"  {name:<8} {meaning}" for name, meaning in ACTIONS.items())
    # A recipe that stands elsewhere would come too late: its values are the defaults below.
    words = ["path"] if not inspects else ["recipe"] if recipe else []
    parser = new_parser(
        words=["action", *words],
        prog="xfm data",
        usage="xfm data index FOLDER [--workers N]\n"
        "       xfm data inspect RECIPE [--step N] [--FIELD VALUE ...]",
        description=f"Look after the data of pre-training.\n\nactions:\n{actions}",
        epilog="examples:\n"
        "  xfm data index shards/cc3m --workers 16\n"
        "  xfm data inspect nano --root worlds/emoji --step 1000 --out look.html\n"
        "  xfm data inspect runs/nano                 what that run reads next",
    )
    # Not required here: the values of a recipe are read by this parser, too.
    option(parser, "--action", "one of the above", choices=[*ACTIONS])
    if inspects:
        own = recipe or "nano"
        if os.path.lexists(kept := home_path(own) / "config.yaml"):  # of the folder of a run
            own = str(kept)
        known = ", ".join(recipe_names())
        option(parser, "--recipe", f"one of {known}, a YAML file, or the folder of a run", "nano")
        option(parser, "--out", "file of the page", "inspect.html")
        option(parser, "--step", "first step; of a run the one that comes next, else 0", -1)
        option(parser, "--steps", "how many", 1)
        option(parser, "--phase", "of the curriculum, from 1; if not given, that of the step", 0)
        option(parser, "--samples", "about how many samples of each stream are shown", 24)
        add_fields(parser, Recipe, values=read_recipe(own), source=f"recipe {own}")
    else:
        option(parser, "--path", "folder of tar shards", required=True)
        option(parser, "--workers", "processes that read shards; one a core if not given", 0)
        option(parser, "--quiet")
    return parser


def run(chosen: Namespace) -> None:
    if chosen.action is None:
        raise UserError(f"say what to do: {' or '.join(ACTIONS)}; see xfm data --help")
    {"index": _index, "inspect": _inspect}[chosen.action](chosen)


def _index(chosen: Namespace) -> None:
    from xfm.data.sources.shard_index import index_folder, open_index

    folder = home_path(chosen.path)
    if not folder.is_dir():
        raise UserError(f"{folder} is no folder; give the folder that holds the shards")
    shards = sorted(path for path in folder.iterdir() if path.suffix == ".tar" and path.is_file())
    if not shards:
        raise UserError(f"{folder} holds no tar shards; give the folder that holds them")
    workers = min(chosen.workers or cores(), len(shards))
    path = index_folder(folder, shards, workers, not chosen.quiet)
    index = open_index(path)
    size = int(index.sizes.sum())
    records, of = amount(index.records, "record"), amount(len(index), "shard")
    print(f"{path} has {records} of {of} with {size:,} bytes.")


def _inspect(chosen: Namespace) -> None:
    recipe = assemble(Recipe, chosen)
    from xfm.training.checkpoint import list_checkpoints, read_state
    from xfm.training.inspection import inspect_data
    from xfm.training.pretrain import begin

    step = chosen.step
    if step < 0:
        found = list_checkpoints(home_path(chosen.recipe))
        step = read_state(found[-1]).step if found else 0
    try:
        check_range("--step", step, 0)
        check_range("--steps", chosen.steps, 1, 1000)
        check_range("--samples", chosen.samples, 1)
    except ValueError as error:
        raise UserError(str(error)) from None
    phase = chosen.phase - 1 if chosen.phase else None
    shown = inspect_data(begin(recipe)[0], Path(chosen.out), step, chosen.steps, phase, chosen.samples)
    seen, whole = shown.samples
    steps = amount(chosen.steps, "step")
    print(f"{shown.page} shows {seen:,} of the {amount(whole, 'sample')} of {steps}, from {step} on.")
