"""The command line: `xfm quickstart | prepare | pretrain | evaluate | convert | export | info`.

Only the parser of the command at hand is built, and torch is imported when a command runs, so that
`--help` is quick.
"""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfm.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

FAILED, INTERRUPTED = 2, 130


@dataclass(frozen=True)
class Command:
    """A verb of the command line.

    Attributes:
        summary: one line for `xfm --help`.
        parser: builds the verb's parser; the options decide which defaults it shows.
        run: does the work with what was parsed.
    """

    summary: str
    parser: "Callable[[Sequence[str]], ArgumentParser]"
    run: "Callable[[Namespace], None]"


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0, 2 for what the user can mend, 130 when interrupted."""
    # torch's threads wait for each other by spinning. Bounded, that costs nothing on a free machine; where
    # others needed the two cores too, a step took 2 s instead of 18. The library reads it when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    arguments = list(sys.argv[1:] if argv is None else argv)
    debug = "--debug" in arguments
    arguments = [argument for argument in arguments if argument != "--debug"]
    if not arguments:
        _top_parser().print_help()
        return 0
    try:
        command, chosen = parse_command(arguments)
        command.run(chosen)
    except UserError as error:
        if debug:
            raise
        print(f"xfm: {error}", file=sys.stderr)
        return FAILED
    except KeyboardInterrupt as interrupt:
        print(f"\nxfm: {interrupt or 'interrupted'}", file=sys.stderr)
        return INTERRUPTED
    return 0


def parse_command(arguments: Sequence[str]) -> "tuple[Command, Namespace]":
    """The command that arguments name, and its options; nothing is run.

    Raises:
        UserError: unknown option or wrong value.
        SystemExit: help was asked for, or there is no such command.
    """
    from xfm.config.options import parse_options, tidy_help

    top = _top_parser().parse_args(arguments)
    command = COMMANDS[top.command]
    parser = command.parser(top.options)
    if "-h" in top.options or "--help" in top.options:
        tidy_help(parser)
    return command, parse_options(parser, top.options)


def _top_parser() -> argparse.ArgumentParser:
    width = max(len(name) for name in COMMANDS)
    commands = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="xfm",
        usage="xfm COMMAND [OPTION ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"One model for language, vision and vision-language.\n\ncommands:\n{commands}",
        epilog="examples:\n"
        "  xfm quickstart                         the whole path in one command\n"
        "  xfm prepare --folder worlds/emoji      build the embedded data\n"
        "  xfm pretrain --recipe nano --folder runs/nano\n"
        "  xfm evaluate runs/nano/model --world worlds/emoji --out runs/nano\n"
        "  xfm COMMAND --help                     every option of a command",
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND", help="one of the above")
    parser.add_argument("options", nargs=argparse.REMAINDER, metavar="OPTION", help="see xfm COMMAND --help")
    parser.add_argument("--version", action="version", version=f"xfm {version('xfm')}")
    parser.add_argument("--debug", action="store_true", help="show the traceback of an error")
    return parser


def _quickstart_parser(options: Sequence[str]) -> "ArgumentParser":
    from xfm.config.options import new_parser

    parser = new_parser(
        prog="xfm quickstart",
        description="Build the embedded world, pre-train `nano` on it from scratch, evaluate the model in\n"
        "every way, and write report.html and metrics.json.",
        epilog="examples:\n"
        "  xfm quickstart                the full path, at most 25 minutes on two cores\n"
        "  xfm quickstart --smoke        the same path on a tiny budget\n"
        "  xfm quickstart --budget 60    train longer",
    )
    parser.add_argument("--folder", type=str, default="runs/quickstart", help="run folder")
    parser.add_argument(
        "--budget", type=float, default=25.0, help="minutes for all stages; scales the schedule"
    )
    parser.add_argument("--smoke", action="store_true", help="the same path on a tiny budget")
    return parser


def _quickstart(chosen: "Namespace") -> None:
    from xfm.quickstart import quickstart as run

    run(Path(chosen.folder), chosen.budget, chosen.smoke)


def _prepare_parser(options: Sequence[str]) -> "ArgumentParser":
    from xfm.config.options import add_fields, new_parser
    from xfm.config.world import WorldConfig

    prefix = "XFM_PREPARE"
    parser = new_parser(
        prefix,
        prog="xfm prepare",
        usage="xfm prepare [--folder FOLDER] [--FIELD VALUE ...]",
        description="Build the embedded world: scenes composed of emoji with captions, exact boxes and the\n"
        "rows of every task. The same configuration gives the same bytes.",
        epilog="examples:\n"
        "  xfm prepare\n"
        "  xfm prepare --folder worlds/tiny --scale 0.02\n"
        f"  {prefix}_SCENES=8000 xfm prepare        any option from the environment",
    )
    parser.add_argument("--folder", type=str, default="worlds/emoji", help="folder to write the world to")
    add_fields(parser, WorldConfig)
    return parser


def _prepare(chosen: "Namespace") -> None:
    from xfm.config.options import assemble
    from xfm.config.world import WorldConfig
    from xfm.data.worlds.emoji import build_world

    build_world(Path(chosen.folder), assemble(WorldConfig, chosen))
    print(f"The world is in {chosen.folder}.")


def _pretrain_parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm pretrain`; their defaults are the values of the recipe that the options name."""
    from xfm.config.load import RECIPE_ENV, read_recipe, recipe_names
    from xfm.config.options import add_fields, new_parser
    from xfm.config.recipe import Recipe

    recipe = _chosen_recipe(options)
    parser = new_parser(
        RECIPE_ENV,
        prog="xfm pretrain",
        usage="xfm pretrain [--recipe NAME] [--folder FOLDER] [--resume] [--FIELD VALUE ...]",
        description="Pre-train a recipe: text, pictures, pairs and regions in, one model out. The run\n"
        "folder holds the resolved config.yaml, log.jsonl, tensorboard/, checkpoints/ and the\n"
        f"finished model/. The values below are those of the recipe {recipe}.",
        epilog="examples:\n"
        "  xfm pretrain --recipe nano\n"
        "  xfm pretrain --recipe small --folder runs/mine --root /data/emoji --training.optim.lr 3e-4\n"
        "  xfm pretrain --folder runs/mine --resume\n"
        "  torchrun --nproc-per-node 8 -m xfm.cli pretrain --recipe base\n"
        f"  {RECIPE_ENV}_TRAINING__STEPS=100 xfm pretrain      any option from the environment",
    )
    known = ", ".join(recipe_names())
    parser.add_argument("--recipe", type=str, default=recipe, help=f"one of {known}, or a YAML file")
    parser.add_argument("--folder", type=str, default=None, help="run folder; runs/NAME if not given")
    parser.add_argument(
        "--resume", action="store_true", help="continue the run in the folder exactly, with its own recipe"
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--compile", action="store_true", help="run the encoders through torch.compile (for GPUs)"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    add_fields(parser, Recipe, values=read_recipe(recipe), source=f"recipe {recipe}")
    return parser


def _chosen_recipe(options: Sequence[str]) -> str:
    """The recipe that the options name; to resume, the folder's own configuration is enough."""
    from xfm.config.load import RECIPE_ENV

    first = argparse.ArgumentParser(add_help=False, allow_abbrev=False, exit_on_error=False)
    first.add_argument("--recipe", nargs="?", default=os.environ.get(f"{RECIPE_ENV}_RECIPE"))
    first.add_argument("--folder", nargs="?")
    first.add_argument("--resume", action="store_true")
    known = first.parse_known_args(options)[0]
    if known.recipe:
        return known.recipe
    kept = Path(known.folder or "runs/nano") / "config.yaml"
    return str(kept) if known.resume and kept.is_file() else "nano"


def _pretrain(chosen: "Namespace") -> None:
    from xfm.config.options import assemble
    from xfm.config.recipe import Recipe

    recipe = assemble(Recipe, chosen)
    folder = Path(chosen.folder or Path("runs") / recipe.name)
    from xfm.training.pretrain import pretrain as run

    model = run(
        recipe,
        folder,
        resume=chosen.resume,
        progress=not chosen.quiet,
        device=chosen.device,
        compiled=chosen.compile,
    )
    if os.environ.get("RANK", "0") == "0":
        print(f"The model is in {model}; evaluate it with `xfm evaluate {model} --world {recipe.root}`.")


def _evaluate_parser(options: Sequence[str]) -> "ArgumentParser":
    from xfm.config.evaluation import EvaluationConfig
    from xfm.config.options import add_fields, new_parser

    prefix = "XFM_EVALUATE"
    parser = new_parser(
        prefix,
        prog="xfm evaluate",
        usage="xfm evaluate MODEL [--world FOLDER] [--out FOLDER] [--FIELD VALUE ...]",
        description="Evaluate a pre-trained model on a world, every number beside chance and a baseline of\n"
        "one modality: retrieval, probes, masked tokens, questions, reasoning, grounding. Writes\n"
        "metrics.json and report.html.",
        epilog="examples:\n"
        "  xfm evaluate runs/nano/model --world worlds/emoji\n"
        "  xfm evaluate runs/nano/model --parts '[retrieval, vqa]' --scale 0.2\n"
        f"  {prefix}_SCALE=0.2 xfm evaluate runs/nano/model      any option from the environment",
    )
    parser.add_argument("model", type=str, help="model folder, such as runs/nano/model")
    parser.add_argument("--world", type=str, default="worlds/emoji", help="folder that `xfm prepare` wrote")
    parser.add_argument(
        "--out", type=str, default=None, help="folder for the results; the model's parent if not given"
    )
    add_fields(parser, EvaluationConfig)
    return parser


def _evaluate(chosen: "Namespace") -> None:
    from xfm.config.evaluation import EvaluationConfig
    from xfm.config.options import assemble

    model = Path(chosen.model)
    from xfm.evaluation.run import evaluate as run

    run(model, Path(chosen.world), Path(chosen.out or model.parent), assemble(EvaluationConfig, chosen))


def _of_module(summary: str, module: str, name: str) -> Command:
    """A verb whose functions are in a module that is imported when they are called."""

    def later(function: str) -> Callable[[Any], Any]:
        return lambda argument: getattr(import_module(module), function)(argument)

    return Command(summary, later(f"{name}_parser"), later(name))


COMMANDS = {
    "quickstart": Command("everything from data to report in one command", _quickstart_parser, _quickstart),
    "prepare": Command("build the embedded data", _prepare_parser, _prepare),
    "pretrain": Command("pre-train a recipe, or resume", _pretrain_parser, _pretrain),
    "evaluate": Command("score a model and write the report", _evaluate_parser, _evaluate),
    "convert": _of_module("read a published checkpoint", "xfm.interop.commands", "convert"),
    "export": _of_module("write a published checkpoint", "xfm.interop.commands", "export"),
    "info": _of_module("describe a model, checkpoint, run or recipe", "xfm.info", "info"),
}

if __name__ == "__main__":
    sys.exit(main())
