"""`xfm checkpoints`: what a run has saved, and whether all of it can be read."""

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jsonargparse import ArgumentParser, Namespace

from xfm.commands._options import option
from xfm.config.options import new_parser
from xfm.errors import printable
from xfm.paths import home_path

if TYPE_CHECKING:
    from xfm.training.checkpoint_list import CheckpointEntry

DAMAGED = 1
"""Exit status where a checkpoint is damaged."""


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm checkpoints`."""
    parser = new_parser(
        words=["path"],
        prog="xfm checkpoints",
        usage="xfm checkpoints RUN [--json]",
        description="List the checkpoints of a run (step, time, size, processes) and compare every file\n"
        "with its checksum. The exit status is 1 where one is damaged: --resume takes the newest whole one.",
        epilog="examples:\n"
        "  xfm checkpoints runs/nano\n"
        "  xfm checkpoints runs/nano --json\n"
        "  xfm checkpoints runs/nano/checkpoints/step-00001000",
    )
    option(parser, "--path", "folder of a run, or a checkpoint", required=True)
    option(parser, "--json", "print the list as JSON", False)
    option(parser, "--quiet")
    return parser


def run(chosen: Namespace) -> int:
    """Read all of them, with a bar, and print the list; the exit status."""
    from dataclasses import asdict

    from tqdm import tqdm

    from xfm.training.checkpoint_list import checkpoints_of, size_of, verified

    found = checkpoints_of(home_path(chosen.path))
    size = sum(map(size_of, found))
    with tqdm(total=size, unit="B", unit_scale=True, disable=chosen.quiet, leave=False) as bar:
        entries = [entry for path in found if (entry := verified(path, bar.update)) is not None]
    if chosen.json:
        print(json.dumps([asdict(entry) for entry in entries], indent=1))
    else:
        print(table(entries))
    return DAMAGED if any(entry.damage for entry in entries) else 0


def table(entries: "Sequence[CheckpointEntry]") -> str:
    """A row for each checkpoint, and below it what was otherwise when the run was resumed."""
    lines = [f"{'step':>12}  {'written':<19}  {'MB':>10}  {'processes':>9}  state"]
    told: set[str] = set()
    for one in entries:
        written = printable((one.written or "?")[:19].replace("T", " "))
        processes = "?" if one.processes is None else one.processes
        state = "whole" if one.damage is None else f"damaged: {one.damage}"
        lines.append(f"{one.step:>12,}  {written:<19}  {one.size / 1e6:>10,.1f}  {processes:>9}  {state}")
        lines += [f"{'':>14}{printable(change)}" for change in one.changes if change not in told]
        told.update(one.changes)
    return "\n".join(lines)
