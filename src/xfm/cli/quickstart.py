"""`xfm quickstart`: the whole path in one command."""

from collections.abc import Sequence
from pathlib import Path

from xfm.cli._options import option
from xfm.config.options import ArgumentParser, Namespace, new_parser


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm quickstart`."""
    parser = new_parser(
        prog="xfm quickstart",
        description="Build the embedded world, pre-train `nano` on it from scratch, evaluate the model in\n"
        "every way, and write report.html and metrics.json.",
        epilog="examples:\n"
        "  xfm quickstart                the full path, at most 25 minutes on two cores\n"
        "  xfm quickstart --smoke        the same path on a tiny budget\n"
        "  xfm quickstart --budget 60    train longer",
    )
    option(parser, "--out", "run folder", "runs/quickstart")
    option(parser, "--budget", "minutes for all stages; all of them are used", 25.0)
    option(parser, "--smoke", "the same path on a tiny budget", False)
    return parser


def run(chosen: Namespace) -> None:
    """Walk the whole path."""
    from xfm.cli.quickstart_steps import quickstart

    quickstart(Path(chosen.out), chosen.budget, chosen.smoke)
