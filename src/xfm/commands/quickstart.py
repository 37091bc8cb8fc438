"""`xfm quickstart`: the whole path in one command."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace


def parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm quickstart`."""
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


def run(chosen: "Namespace") -> None:
    """Walk the whole path."""
    from xfm.quickstart import quickstart

    quickstart(Path(chosen.out), chosen.budget, chosen.smoke)
