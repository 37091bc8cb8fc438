"""`xfm predict`: options and work. torch is imported when the command runs."""

from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.config.options import add_fields, assemble, new_parser
from xfm.config.pipelines import ALSO, FIELDS, OPTIONS, PipelineTask, pipeline_task
from xfm.config.spelling import early_word
from xfm.errors import UserError

if TYPE_CHECKING:
    from jsonargparse import ArgumentParser, Namespace

_TASKS = ", ".join(PipelineTask)


def predict_parser(options: Sequence[str]) -> "ArgumentParser":
    """The options of `xfm predict`; the task that they begin with adds its own."""
    task = _task_of(options)
    what = f"The task reads {_columns(task)}.\n" if task else f"Tasks: {_wrapped(_TASKS)}.\n"
    parser = new_parser(
        words=["task", "model", "input"],
        prog="xfm predict",
        usage=f"xfm predict {task or 'TASK'} --model MODEL --input FILE --out FILE [--OPTION VALUE ...]",
        description="Answer every row of a table, or every picture of a folder, into a JSON-lines file\n"
        "with a line a row: its number, the columns of --keep, and the prediction. The file is only\n"
        f"appended to: the same command goes on where a run was stopped.\n{what}"
        "`xfm predict TASK --help` shows the columns and options of a task.",
        epilog="examples:\n"
        "  xfm predict text-classification --model runs/my/model --input rows.csv --out preds.jsonl\n"
        "  xfm predict embed --model runs/quickstart/model --input photos/ --out vectors.jsonl\n"
        "  xfm predict visual-question-answering --model runs/vqa --input rows.jsonl --out preds.jsonl \\\n"
        "      --columns image=photo,question=q --keep id --skip-bad",
    )
    parser.add_argument("--task", type=str, required=True, help="what to answer")
    parser.add_argument("--model", type=str, required=True, help="model folder, run, or name on the hub")
    parser.add_argument(
        "--input",
        type=str,
        required=True,
        help=".jsonl, .csv, .tsv or .parquet file, or a folder of pictures",
    )
    parser.add_argument("--out", type=str, required=True, help="JSON-lines file to write, or to go on with")
    parser.add_argument(
        "--columns", type=str, default="", help="what the columns are called: FIELD=COLUMN,..."
    )
    parser.add_argument("--keep", type=str, default="", help="columns to copy to the answers, with commas")
    parser.add_argument(
        "--pictures", type=str, default=None, help="folder that paths start from, if not the input's"
    )
    parser.add_argument(
        "--skip-bad", action="store_true", help="log rows that cannot be answered in OUT.bad.jsonl"
    )
    parser.add_argument(
        "--resume", action="store_true", help="go on with what OUT holds, as happens without it, too"
    )
    parser.add_argument("--restart", action="store_true", help="throw away what OUT holds")
    parser.add_argument(
        "--allow-urls", action="store_true", help="fetch pictures from public http(s) addresses"
    )
    parser.add_argument("--batch-size", type=int, default=32, help="rows per pass")
    parser.add_argument(
        "--precision", type=str, default="fp32", help="fp32, bf16, or auto: bf16 where it is faster"
    )
    parser.add_argument("--device", type=str, default="auto", help="auto, cpu, cuda, cuda:1, ...")
    parser.add_argument(
        "--workers", type=int, default=None, help="threads that read pictures; four with a GPU, none without"
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bars")
    if task is not None:
        _add_options_of(task, parser)
    return parser


def _add_options_of(task: PipelineTask, parser: "ArgumentParser") -> None:
    """What only this task is asked."""
    if task is PipelineTask.RETRIEVAL:
        parser.add_argument(
            "--gallery",
            type=str,
            default=None,
            help="candidates: a folder of pictures, or a table (text or image)",
        )
    if task is PipelineTask.GROUNDING:
        parser.add_argument(
            "--draw", type=str, default=None, help="folder for the pictures, each with its box, by row number"
        )
    if fields(OPTIONS[task]):
        add_fields(parser, OPTIONS[task])


def _task_of(options: Sequence[str]) -> PipelineTask | None:
    """The task that the options begin with, None where help about all of them is asked for."""
    first = early_word(options, "task", [*PipelineTask, *ALSO])
    return None if first is None else pipeline_task(first)


def _columns(task: PipelineTask) -> str:
    found = [
        f"{field.name} ({field.meaning}{', may be missing' if field.optional else ''})"
        for field in FIELDS[task]
    ]
    return ", ".join(found)


def _wrapped(names: str) -> str:
    """Names on lines that fit a terminal."""
    lines = [""]
    for name in names.split(", "):
        if len(lines[-1]) + len(name) > 80:
            lines.append("")
        lines[-1] += f"{name}, "
    return "\n".join(lines).rstrip(", ")


def predict(chosen: "Namespace") -> None:
    """Answer the rows and say how many there were."""
    task = pipeline_task(chosen.task)
    options = assemble(OPTIONS[task], chosen)
    gallery = getattr(chosen, "gallery", None)
    if chosen.resume and chosen.restart:
        raise UserError("--resume goes on with what OUT holds, --restart throws it away; give one of them")
    if task is PipelineTask.RETRIEVAL and gallery is None:
        raise UserError("retrieval searches in a gallery: give --gallery, a folder of pictures or a table")
    from xfm.data.tables import ColumnMap
    from xfm.inference.pipeline import pipeline
    from xfm.inference.predict.output import bad_file
    from xfm.inference.predict.reading import Reading
    from xfm.inference.predict.run import predict as run

    keep = tuple(filter(None, (name.strip() for name in chosen.keep.split(","))))
    root = None if chosen.pictures is None else Path(chosen.pictures)
    reading = Reading(FIELDS[task], ColumnMap.parse(chosen.columns), keep, root, chosen.allow_urls)
    pipe = pipeline(
        task,
        chosen.model,
        device=chosen.device,
        precision=chosen.precision,
        batch_size=chosen.batch_size,
        allow_urls=chosen.allow_urls,
        readers=chosen.workers,
    )
    out = Path(chosen.out)
    try:
        found = run(
            pipe,
            chosen.input,
            out,
            options,
            reading=reading,
            gallery=gallery,
            skip_bad=chosen.skip_bad,
            restart=chosen.restart,
            draw=getattr(chosen, "draw", None),
            progress=not chosen.quiet,
        )
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command goes on with {out}") from None
    before = f" ({found.before} of them by earlier runs)" if found.before else ""
    skipped = f"; {found.skipped} could not be answered, see {bad_file(out)}" if found.skipped else ""
    print(f"{found.before + found.answered} rows are answered in {out}{before}{skipped}.")
