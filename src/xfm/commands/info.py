"""`xfm info`: describe a model, checkpoint, run or recipe."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from xfm.boxed import boxed_names
from xfm.commands._options import option
from xfm.config.load import recipe_names
from xfm.config.options import new_parser
from xfm.errors import UserError, suggest


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm info`."""
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
    option(parser, "--model")
    return parser


def run(chosen: Namespace) -> None:
    """Describe what was named."""
    from xfm.info import describe

    paths = [*(chosen.path or []), *([chosen.model] if chosen.model else [])]
    if not paths:
        raise UserError("say what to describe; for example: xfm info runs/quickstart/model")
    for path in paths:
        if path not in (*recipe_names(), *boxed_names()) and not Path(path).exists():
            raise UserError(
                f"{path} does not exist, and no recipe or model of the package has that name: name a model "
                f"folder, a checkpoint, a run folder or a recipe; {suggest(path, recipe_names())}"
            )
    print("\n---\n".join(describe(path) for path in paths))
