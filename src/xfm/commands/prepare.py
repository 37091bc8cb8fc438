"""`xfm prepare`: build the embedded data."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm prepare`."""
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


def run(chosen: "Namespace") -> None:
    """Build the world and say what to do with it."""
    from xfm.config.next_command import command_line
    from xfm.config.options import assemble
    from xfm.config.world import WorldConfig
    from xfm.world import build_world

    build_world(Path(chosen.out), assemble(WorldConfig, chosen), force=chosen.force)
    line = command_line("pretrain", recipe="nano", root=chosen.out)
    print(f"The world is in {chosen.out}; pre-train on it with `{line}`.")
