"""`xfm prepare`: build the embedded data."""

from collections.abc import Sequence
from pathlib import Path

from jsonargparse import ArgumentParser, Namespace

from xfm.commands._options import option
from xfm.config.next_command import command_line
from xfm.config.options import add_fields, assemble, new_parser
from xfm.config.world import WorldConfig


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm prepare`."""
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
    option(parser, "--out", "folder to write the world to", "worlds/emoji")
    option(parser, "--force", "replace a world of other settings", False)
    add_fields(parser, WorldConfig)
    return parser


def run(chosen: Namespace) -> None:
    """Build the world and say what to do with it."""
    from xfm.world import build_world

    build_world(Path(chosen.out), assemble(WorldConfig, chosen), force=chosen.force)
    line = command_line("pretrain", recipe="nano", root=chosen.out)
    print(f"The world is in {chosen.out}; pre-train on it with `{line}`.")
