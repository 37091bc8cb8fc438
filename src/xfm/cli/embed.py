"""`xfm embed`: options and work. torch is imported when the command runs."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.cli._engines import add_sharing, answer_in_units, others_have_not
from xfm.cli._options import option
from xfm.config.inference import EmbedConfig
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, names_in, new_parser
from xfm.config.tables import add_max_bad
from xfm.config.tasks import EMBED
from xfm.core.errors import UserError, amount
from xfm.core.paths import home_path
from xfm.models.shipped import DEFAULT

if TYPE_CHECKING:
    from xfm.inference.prediction import PredictionCounts

_TAKEN = ("row", "image", "warning", "vector")
"""Columns of the files of vectors."""


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm embed`."""
    parser = new_parser(
        words=["input"],
        prog="xfm embed",
        usage="xfm embed INPUT --out FOLDER [--model MODEL] [--OPTION VALUE ...]",
        description="Vectors of every row of a table (a column text or image), or of every picture of a\n"
        "folder: Parquet or NumPy files of some rows each in a folder, and _vectors.json about them.\n"
        "Texts and pictures share a space; products of vectors are cosines. The same command goes on\n"
        "where a run was stopped, and many machines can share the work (--engine ray, --array);\n"
        "the files are the same whoever made them.",
        epilog="examples:\n"
        "  xfm embed photos/ --out vectors/photos\n"
        "  xfm embed reviews.parquet --model runs/my/model --columns text=review --keep id --out vectors/r\n"
        "  xfm embed photos/ --out vectors/photos --engine ray\n"
        '  xfm embed photos/ --out vectors/photos --array "$SLURM_ARRAY_TASK_ID/16"',
    )
    option(parser, "--input", "a table as finetune takes it, or a folder of pictures", required=True)
    option(parser, "--out", "folder of the vectors", required=True)
    option(parser, "--model", default=DEFAULT, meaning="model folder, run, or name of the package or the hub")
    add_fields(parser, EmbedConfig)
    option(parser, "--columns", default="")
    option(parser, "--keep", "columns to copy to the vectors, with commas", "")
    option(parser, "--pictures", "folder that paths start from, if not the input's")
    add_max_bad(parser, "rows that cannot be read (logged in OUT/_bad.jsonl)")
    option(parser, "--restart", "throw away what OUT holds", False)
    option(parser, "--allow-urls", type=list[str])
    option(parser, "--batch-size", "rows per pass", 32)
    option(parser, "--precision", "fp32, bf16, or auto: bf16 where it is faster; fp32 if not given")
    option(parser, "--device")
    option(parser, "--quiet")
    add_sharing(parser)
    return parser


def run(chosen: Namespace) -> None:
    """Compute the vectors, and say how many there are."""
    keep = tuple(names_in(chosen.keep))
    if taken := [name for name in keep if name in _TAKEN]:
        raise UserError(f"--keep {taken[0]}: vectors have a column of that name; rename yours")
    from xfm.inference.shared_prediction import PartsTarget

    target = PartsTarget(home_path(chosen.out).absolute(), assemble(EmbedConfig, chosen).format)
    found = answer_in_units(chosen, EMBED.name, EMBED.options(), keep, target)
    print(others_have_not(chosen.array) if found is None else _said(found, target.path, target.bad))


def _said(found: "PredictionCounts", out: Path, bad: Path) -> str:
    from xfm.data.skipped import said_left_out

    count = found.before + found.answered
    before = f" ({found.before:,} of them by earlier or other runs)" if found.before else ""
    said = f"{amount(count, 'vector is', 'vectors are')} in {out}{before}."
    if found.partial:
        said += f" {amount(found.partial, 'is', 'are')} of a part of a picture, see the warning."
    if found.skipped:
        said += f"\n{said_left_out(found.skipped, found.skipped + count, found.first_bad, bad)}"
    return said
