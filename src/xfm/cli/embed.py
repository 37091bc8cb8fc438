"""`xfm embed`: options and work. torch is imported when the command runs."""

from collections.abc import Sequence

from xfm.cli._options import add_answering, answer_in_units, answers_said, option, others_have_not
from xfm.config.inference import VectorFormat
from xfm.config.options import ArgumentParser, Namespace, add_option, names_in, new_parser
from xfm.config.tasks import EMBED
from xfm.core.errors import UserError
from xfm.core.paths import home_path
from xfm.models.shipped import DEFAULT, model_or_default


def parser(options: Sequence[str]) -> ArgumentParser:
    parser = new_parser(
        words=["input"],
        usage="xfm embed INPUT --out FOLDER [--model MODEL] [--OPTION VALUE ...]",
        description="Vectors of every row of a table (a column text or image), or of every picture of a\n"
        "folder: Parquet or NumPy files of some rows each, and _vectors.json about them. The same command\n"
        "goes on where a run was stopped; many machines can share the work (--engine ray, --array).",
        examples="  xfm embed reviews.parquet --model runs/my/model --columns text=review --keep id "
        "--out vectors/r\n"
        "  xfm embed photos/ --out vectors/photos --engine ray\n"
        '  xfm embed photos/ --out vectors/photos --array "$SLURM_ARRAY_TASK_ID/16"',
    )
    option(parser, "--input", "a table as finetune takes it, or a folder of pictures", required=True)
    option(parser, "--out", "folder of the vectors", required=True)
    option(parser, "--model", f"model folder, run, or name of the package or the hub; {DEFAULT} if not given")
    said = "parquet, or npy: arrays of NumPy, with JSON lines that say whose the vectors are"
    add_option(parser, "--format", VectorFormat, default="parquet", help=said)
    add_answering(parser, "rows that cannot be read (logged in OUT/_bad.jsonl)")
    return parser


def run(chosen: Namespace) -> None:
    keep = tuple(names_in(chosen.keep))
    if taken := [name for name in keep if name in ("row", "image", "vector")]:
        raise UserError(f"--keep {taken[0]}: vectors have a column of that name; rename yours")
    from xfm.inference.shared_prediction import PartsTarget

    chosen.model = model_or_default(chosen.model)
    target = PartsTarget(home_path(chosen.out).absolute(), chosen.format)
    found = answer_in_units(chosen, EMBED.name, EMBED.options(), keep, target)
    if found is None:
        print(others_have_not(chosen.array))
    else:
        print(answers_said(found, "vector is in", "vectors are in", target.path, target.bad))
