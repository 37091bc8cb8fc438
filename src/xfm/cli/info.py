"""`xfm info`: describe a model, checkpoint, run or recipe."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.cli._options import option
from xfm.config.load import recipe_names
from xfm.config.options import ArgumentParser, Namespace, new_parser
from xfm.core.errors import UserError, printable, suggest
from xfm.core.paths import home_path
from xfm.models.shipped import boxed_names

if TYPE_CHECKING:
    from xfm.training.checkpoint import CheckpointEntry

DAMAGED = 1
"""Exit status where a checkpoint is damaged."""


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm info`."""
    parser = new_parser(
        prog="xfm info",
        description="Print configuration, parameters of each part and provenance of a model folder, a\n"
        "checkpoint or a run folder, kind and sizes of a published checkpoint (.th, .pt), or every field of\n"
        f"a recipe ({', '.join(recipe_names())}).\n"
        "--checkpoints lists those of a run, or one, and compares every file with its checksum: the exit\n"
        "status is 1 where one is damaged; --resume takes the newest whole one.",
        epilog="examples:\n  xfm info runs/quickstart/model\n  xfm info runs/quickstart\n"
        "  xfm info xfm-base.th\n  xfm info base\n  xfm info runs/nano --checkpoints",
    )
    parser.add_argument(
        "path", type=str, nargs="*", metavar="PATH", help="folder, file or recipe; several are shown in turn"
    )
    option(parser, "--model")
    option(parser, "--checkpoints", "list and verify the checkpoints of the runs", False)
    option(parser, "--json", "print that list as JSON", False)
    option(parser, "--quiet")
    return parser


def run(chosen: Namespace) -> int:
    """Describe what was named."""
    from xfm.cli.describe import describe

    paths = [*(chosen.path or []), *([chosen.model] if chosen.model else [])]
    if not paths:
        raise UserError("say what to describe; for example: xfm info runs/quickstart/model")
    if chosen.checkpoints:
        return _show_checkpoints(paths, chosen.json, chosen.quiet)
    if chosen.json:
        raise UserError("--json is for --checkpoints; give that, or leave it out")
    for path in paths:
        if path not in (*recipe_names(), *boxed_names()) and not Path(path).exists():
            raise UserError(
                f"{path} does not exist, and no recipe or model of the package has that name: name a model "
                f"folder, a checkpoint, a run folder or a recipe; {suggest(path, recipe_names())}"
            )
    print("\n---\n".join(describe(path) for path in paths))
    return 0


def _show_checkpoints(runs: Sequence[str], as_json: bool, quiet: bool) -> int:
    """Read all of them, with a bar, and print the list; the exit status."""
    from dataclasses import asdict

    from tqdm import tqdm

    from xfm.training.checkpoint import checkpoints_of, size_of, verified

    found = [path for run in runs for path in checkpoints_of(home_path(run))]
    size = sum(map(size_of, found))
    with tqdm(total=size, unit="B", unit_scale=True, disable=quiet, leave=False) as bar:
        entries = [entry for path in found if (entry := verified(path, bar.update)) is not None]
    print(json.dumps([asdict(entry) for entry in entries], indent=1) if as_json else table(entries))
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
