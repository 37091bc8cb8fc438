"""The option `--max-bad`, alike in every command that reads pictures or rows. Nothing here imports torch."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from xfm.config.options import ArgumentParser

MAX_BAD = 100
"""Rows that may be left out where nobody said how many; and never more than half of a split."""


def add_max_bad(parser: "ArgumentParser", what: str = "rows with an unreadable picture") -> None:
    """Add the option; None stands for the rule of `MAX_BAD`."""
    from xfm.config.options import add_option

    add_option(
        parser,
        "--max-bad",
        int,
        default=None,
        help=f"{what} to leave out at most; if not given, {MAX_BAD} and half of the rows; 0 ends the run at "
        "the first",
    )
