"""The command line: `xfm quickstart | prepare | init | pretrain | finetune | evaluate | predict | ...`.

Only the parser of the command at hand is built, and torch is imported when a command runs, so that
`--help` is quick.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any

from xfm.cli.terminal import FAILED, guarded, leaving
from xfm.core.errors import UserError, suggest
from xfm.core.processes import is_alone, terminable

if TYPE_CHECKING:
    from xfm.config.options import Namespace


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
    try:
        with guarded("--debug" in given) as running:
            try:
                os.getcwd()
            except FileNotFoundError:  # the libraries would end the process
                remedy = "change to another (`cd`)"
                raise UserError(f"the current folder does not exist any more: {remedy}") from None
            with terminable():
                verb, chosen = parse_command(arguments or ["--help"])
                running.out = str(getattr(chosen, "out", None) or "")
                running.prints = verb in PRINTS and not getattr(chosen, PRINTS[verb], None)
                if verb in ENCODING:
                    import_module("xfm.training.cpu_runtime").prepare_process()
                alone = verb in SEVERAL or is_alone(f"xfm {verb}")
                running.status = command_module(verb).run(chosen) or 0 if alone else FAILED
        return running.status
    finally:  # help leaves by an exception
        if argv is None:
            leaving()


def command_module(verb: str) -> Any:
    """The module of a command: `parser` builds its options, `run` does the work with what was parsed, and
    gives the exit status where it has one of its own."""
    return import_module(f"xfm.cli.{verb}")


def parse_command(arguments: Sequence[str]) -> "tuple[str, Namespace]":
    """The command that arguments name, and its options; nothing is run."""
    from xfm.config.options import parse_options

    verb = arguments[0]
    if not verb.startswith("-") and verb not in COMMANDS:
        raise UserError(f"there is no command {verb}; {suggest(verb, [*COMMANDS], 'see xfm --help')}")
    top = _top_parser().parse_args(arguments)
    return top.command, parse_options(command_module(top.command).parser(top.options), top.options)


def _top_parser() -> argparse.ArgumentParser:
    from importlib.metadata import version

    width = max(len(name) for name in COMMANDS)
    commands = "\n".join(f"  {name:<{width}}  {summary}" for name, summary in COMMANDS.items())
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
    "quickstart": "everything from data to report in one command",
    "prepare": "make shards of a corpus, or build the embedded data",
    "data": "index the shards of a corpus",
    "doctor": "read any data set before training, and say what is wrong with it",
    "init": "compose a model of encoders with weights",
    "plan": "predict memory, time and cost of a run",
    "pretrain": "pre-train a recipe, or resume",
    "finetune": "fine-tune a model on your own rows",
    "evaluate": "score a model and write the report",
    "ablate": "ask what parts of the method are worth",
    "predict": "answer one input, or the rows of a file",
    "embed": "make vectors of a table or a folder",
    "index": "collect pictures to search in",
    "search": "find pictures by a text, a picture, or both",
    "serve": "answer requests over HTTP",
    "demo": "try models in the browser",
    "reproduce": "run the benchmarks of the paper",
    "convert": "read a published checkpoint",
    "export": "write a model for other runtimes, or a published checkpoint",
    "info": "describe a model, checkpoint, run or recipe",
}
"""Every command with a line for `xfm --help`; its module in `xfm.cli` is imported when it is used."""
SEVERAL = ("pretrain", "finetune")
"""Those made for several processes, started by torchrun."""
ENCODING = ("embed", "index", "predict", "search")
"""Those that encode many pictures and end: memory that is freed stays theirs, which takes less time."""
PRINTS = {"plan": "json", "predict": "out", "search": "", "info": ""}
"""Those that are asked for something on standard output and for nothing else, without this option."""
