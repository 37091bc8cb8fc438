"""The command line: `xfm quickstart | prepare | init | pretrain | finetune | evaluate | predict | ...`.

Only the parser of the command at hand is built, and torch is imported when a command runs, so that
`--help` is quick.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfm import completion
from xfm.commands import evaluate, evaluate_parser, pretrain, pretrain_parser
from xfm.errors import UserError, suggest
from xfm.processes import is_alone, terminable
from xfm.terminal import FAILED, guarded, leaving, require_folder

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


@dataclass(frozen=True)
class Command:
    """A verb of the command line.

    Attributes:
        summary: one line for `xfm --help`.
        parser: builds the verb's parser; the options decide which defaults it shows.
        run: does the work with what was parsed.
        several: whether it is made for several processes, started by torchrun.
        shows: whether what was parsed asks for something on standard output and for nothing else.
    """

    summary: str
    parser: "Callable[[Sequence[str]], ArgumentParser]"
    run: "Callable[[Namespace], None]"
    several: bool = False
    shows: "Callable[[Namespace], bool]" = lambda _: False


def _note(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
    """Our own warnings as a sentence; file and line of the source help those alone who write in Python."""
    return f"Note: {message}\n" if category is UserWarning else _formatted(message, category, *where, **more)


_formatted = warnings.formatwarning


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0, 2 for what the user can mend, 130 when interrupted."""
    # torch's threads wait for each other by spinning. Bounded, that costs nothing on a free machine; where
    # others needed the two cores too, a step took 2 s instead of 18. The library reads it when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # What Pillow warns of in damaged pictures names no file; our own messages do.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.formatwarning = _note
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = [argument for argument in given if argument != "--debug"]
    running: list[tuple[Command, Namespace]] = []
    refused: list[bool] = []

    def work() -> None:
        if completion.ASKED in os.environ:
            completion.answer({name: command.parser for name, command in COMMANDS.items()})
        require_folder()
        if not arguments:
            _top_parser().print_help()
            return
        with terminable():
            command, chosen = parse_command(arguments)
            running.append((command, chosen))
            if command.several or is_alone(f"xfm {arguments[0]}"):
                command.run(chosen)
            else:
                refused.append(True)

    def place() -> str:
        return next((str(chosen.get("out") or "") for _, chosen in running), "")

    def shows() -> bool:
        return all(command.shows(chosen) for command, chosen in running)

    status = guarded(work, place, shows, debug="--debug" in given)
    if argv is None:
        leaving()
    return FAILED if refused else status


def parse_command(arguments: Sequence[str]) -> "tuple[Command, Namespace]":
    """The command that arguments name, and its options; nothing is run.

    Raises:
        UserError: unknown command or option, or wrong value.
        SystemExit: help was asked for.
    """
    from xfm.config.help import tidy_help
    from xfm.config.options import parse_options

    verb = arguments[0]
    if not verb.startswith("-") and verb not in COMMANDS:
        raise UserError(f"there is no command {verb}; {suggest(verb, [*COMMANDS], 'see xfm --help')}")
    top = _top_parser().parse_args(arguments)
    command = COMMANDS[top.command]
    parser = command.parser(top.options)
    if "-h" in top.options or "--help" in top.options:
        tidy_help(parser)
    return command, parse_options(parser, top.options)


def _top_parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    width = max(len(name) for name in COMMANDS)
    commands = "\n".join(f"  {name:<{width}}  {command.summary}" for name, command in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="xfm",
        usage="xfm COMMAND [OPTION ...]",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=f"One model for language, vision and vision-language.\n\ncommands:\n{commands}",
        epilog="examples:\n"
        "  xfm quickstart                         the whole path in one command\n"
        "  xfm prepare                            build the embedded data\n"
        "  xfm pretrain --recipe nano --out runs/nano\n"
        "  xfm evaluate runs/quickstart/model --world worlds/emoji\n"
        "  xfm COMMAND --help                     every option of a command\n\n"
        "rules of every command:\n"
        "  --batch-size and --batch_size are one option, and XFM_EVALUATE_BATCH_SIZE sets it, too\n"
        "  what stands first needs no name: xfm evaluate MODEL, or xfm evaluate --model MODEL\n"
        "  ~ is the home folder in every path; ./~ is a file of that name",
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
    parser.add_argument("--out", type=str, default="runs/quickstart", help="run folder")
    parser.add_argument(
        "--budget", type=float, default=25.0, help="minutes for all stages; scales the schedule"
    )
    parser.add_argument("--smoke", action="store_true", help="the same path on a tiny budget")
    return parser


def _quickstart(chosen: "Namespace") -> None:
    from xfm.quickstart import quickstart as run

    run(Path(chosen.out), chosen.budget, chosen.smoke)


def _prepare_parser(options: Sequence[str]) -> "ArgumentParser":
    from xfm.config.options import add_fields, new_parser
    from xfm.config.world import WorldConfig

    parser = new_parser(
        prog="xfm prepare",
        usage="xfm prepare [--out FOLDER] [--FIELD VALUE ...]",
        description="Build the embedded world: scenes composed of emoji with captions, exact boxes and the\n"
        "rows of every task. The same configuration gives the same bytes.",
        epilog="examples:\n"
        "  xfm prepare\n"
        "  xfm prepare --out worlds/tiny --scale 0.02\n"
        "  XFM_PREPARE_SCENES=8000 xfm prepare        any option from the environment",
    )
    parser.add_argument("--out", type=str, default="worlds/emoji", help="folder to write the world to")
    parser.add_argument("--force", action="store_true", help="replace a world of other settings")
    add_fields(parser, WorldConfig)
    return parser


def _prepare(chosen: "Namespace") -> None:
    from xfm.config.next_command import command_line
    from xfm.config.options import assemble
    from xfm.config.world import WorldConfig
    from xfm.data.worlds.emoji import build_world

    build_world(Path(chosen.out), assemble(WorldConfig, chosen), force=chosen.force)
    line = command_line("pretrain", recipe="nano", root=chosen.out)
    print(f"The world is in {chosen.out}; pre-train on it with `{line}`.")


def _info_parser(options: Sequence[str]) -> "ArgumentParser":
    from xfm.config.load import recipe_names
    from xfm.config.options import new_parser

    parser = new_parser(
        prog="xfm info",
        description="Print configuration, parameters of each part and provenance of a model folder, a\n"
        "checkpoint or a run folder, kind and sizes of a published checkpoint (.th, .pt), or every field of\n"
        f"a recipe ({', '.join(recipe_names())}).",
        epilog="examples:\n  xfm info runs/quickstart/model\n  xfm info runs/quickstart\n"
        "  xfm info xfm-base.th\n  xfm info base",
    )
    parser.add_argument(
        "path", type=str, nargs="*", metavar="PATH", help="folder, file or recipe; several are shown in turn"
    )
    parser.add_argument("--model", type=str, default=None, help="folder of a model, or of a finished run")
    return parser


def _info(chosen: "Namespace") -> None:
    from xfm.info import PUBLISHED, describe

    paths = [*(chosen.path or []), *([chosen.model] if chosen.model else [])]
    if not paths:
        raise UserError("say what to describe; for example: xfm info runs/quickstart/model")
    for path in paths:
        looks_like_file = os.sep in path or Path(path).suffix in PUBLISHED
        if looks_like_file and not Path(path).exists():
            raise UserError(
                f"{path} does not exist: name a model folder, a checkpoint, a run folder or a recipe"
            )
    print("\n---\n".join(describe(path) for path in paths))


def _of_module(summary: str, module: str, name: str, **more: Any) -> Command:
    """A verb whose functions are in a module that is imported when they are called."""

    def later(function: str) -> Callable[[Any], Any]:
        return lambda argument: getattr(import_module(module), function)(argument)

    return Command(summary, later(f"{name}_parser"), later(name), **more)


COMMANDS = {
    "quickstart": Command("everything from data to report in one command", _quickstart_parser, _quickstart),
    "prepare": Command("build the embedded data", _prepare_parser, _prepare),
    "init": _of_module("compose a model of encoders with weights", "xfm.interop.init_command", "init"),
    "pretrain": Command("pre-train a recipe, or resume", pretrain_parser, pretrain, several=True),
    "finetune": _of_module("fine-tune a model on your own rows", "xfm.finetuning.command", "finetune"),
    "evaluate": Command("score a model and write the report", evaluate_parser, evaluate),
    "predict": _of_module(
        "answer one input, or the rows of a file",
        "xfm.inference.predict.command",
        "predict",
        shows=lambda chosen: chosen.out is None,
    ),
    "probe": _of_module("linear evaluation of frozen features", "xfm.evaluation.frozen_commands", "probe"),
    "zero-shot": _of_module(
        "classify pictures by the names of their classes", "xfm.evaluation.frozen_commands", "zero_shot"
    ),
    "reproduce": _of_module("run the benchmarks of the paper", "xfm.reproduce.command", "reproduce"),
    "easy-vqa": _of_module(
        "fine-tune on easy-VQA in fourteen minutes", "xfm.reproduce.easy_vqa_command", "easy_vqa"
    ),
    "convert": _of_module("read a published checkpoint", "xfm.interop.commands", "convert"),
    "export": _of_module("write a published checkpoint", "xfm.interop.commands", "export"),
    "completion": Command(
        "complete words at Tab, for a shell",
        completion.completion_parser,
        completion.completion,
        shows=lambda _: True,
    ),
    "info": Command("describe a model, checkpoint, run or recipe", _info_parser, _info, shows=lambda _: True),
}

if __name__ == "__main__":
    sys.exit(main())
