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
from typing import TYPE_CHECKING, Any

from xfm.cli.terminal import FAILED, guarded, leaving
from xfm.core.errors import UserError, suggest
from xfm.core.processes import is_alone, terminable

if TYPE_CHECKING:
    from xfm.config.options import Namespace


@dataclass(frozen=True)
class Command:
    """A verb of the command line.

    Attributes:
        name: as it is typed; its module in `xfm.cli` is imported when it is used.
        summary: one line for `xfm --help`.
        several: whether it is made for several processes, started by torchrun.
        shows: whether what was parsed asks for something on standard output and for nothing else.
    """

    name: str
    summary: str
    several: bool = False
    shows: "Callable[[Namespace], bool]" = lambda _: False

    @property
    def module(self) -> Any:
        """Its module in `xfm.cli`: `parser` builds its options, `run` does the work with what was parsed and
        gives the exit status, where it has one of its own."""
        return import_module(f"xfm.cli.{self.name}")


def _note(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> str:
    """Our own warnings as a sentence; file and line of the source help those alone who write in Python."""
    return f"Note: {message}\n" if category is UserWarning else _formatted(message, category, *where, **more)


_formatted = warnings.formatwarning


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return the exit status: 0, 2 for what the user can mend, 130 when interrupted.

    `xfm doctor` and `xfm info --checkpoints` also have 1: they found something.
    """
    # torch's threads wait for each other by spinning. Bounded, that costs nothing on a free machine; where
    # others needed the two cores too, a step took 2 s instead of 18. The library reads it when torch loads.
    os.environ.setdefault("GOMP_SPINCOUNT", "10000")
    # What Pillow warns of in damaged pictures names no file; our own messages do.
    warnings.filterwarnings("ignore", module=r"PIL\.")
    warnings.formatwarning = _note
    given = list(sys.argv[1:] if argv is None else argv)
    arguments = [argument for argument in given if argument != "--debug"]
    running: list[tuple[Command, Namespace]] = []
    refused = False
    try:
        with guarded(
            lambda: next((str(chosen.get("out") or "") for _, chosen in running), ""),
            lambda: all(command.shows(chosen) for command, chosen in running),
            debug="--debug" in given,
        ) as ending:
            try:
                os.getcwd()
            except FileNotFoundError:  # the libraries would end the process
                raise UserError(
                    "the current folder does not exist any more: change to another (`cd`)"
                ) from None
            if arguments:
                with terminable():
                    command, chosen = parse_command(arguments)
                    running.append((command, chosen))
                    if command.several or is_alone(f"xfm {arguments[0]}"):
                        ending.status = command.module.run(chosen) or 0
                    else:
                        refused = True
            else:
                _top_parser().print_help()
    finally:  # help leaves by an exception
        if argv is None:
            leaving()
    return FAILED if refused else ending.status


def parse_command(arguments: Sequence[str]) -> "tuple[Command, Namespace]":
    """The command that arguments name, and its options; nothing is run."""
    from xfm.config.options import parse_options

    verb = arguments[0]
    if not verb.startswith("-") and verb not in COMMANDS:
        raise UserError(f"there is no command {verb}; {suggest(verb, [*COMMANDS], 'see xfm --help')}")
    top = _top_parser().parse_args(arguments)
    command = COMMANDS[top.command]
    return command, parse_options(command.module.parser(top.options), top.options)


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


COMMANDS = {
    one.name: one
    for one in (
        Command("quickstart", "everything from data to report in one command"),
        Command("prepare", "make shards of a corpus, or build the embedded data"),
        Command("data", "index the shards of a corpus"),
        Command("doctor", "read any data set before training, and say what is wrong with it"),
        Command("init", "compose a model of encoders with weights"),
        Command("plan", "predict memory, time and cost of a run", shows=lambda chosen: chosen.json is None),
        Command("pretrain", "pre-train a recipe, or resume", several=True),
        Command("finetune", "fine-tune a model on your own rows", several=True),
        Command("evaluate", "score a model and write the report"),
        Command("ablate", "ask what parts of the method are worth"),
        Command(
            "predict", "answer one input, or the rows of a file", shows=lambda chosen: chosen.out is None
        ),
        Command("embed", "make vectors of a table or a folder"),
        Command("index", "collect pictures to search in"),
        Command("search", "find pictures by a text, a picture, or both", shows=lambda _: True),
        Command("serve", "answer requests over HTTP"),
        Command("demo", "try models in the browser"),
        Command("reproduce", "run the benchmarks of the paper"),
        Command("convert", "read a published checkpoint"),
        Command("export", "write a model for other runtimes, or a published checkpoint"),
        Command("info", "describe a model, checkpoint, run or recipe", shows=lambda _: True),
    )
}
