"""`xfm predict`: options and work. torch is imported when the command runs."""

import os
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfm.cli._options import add_answering, answer_in_units, answers_said, is_shared, option, others_have_not
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble, early_word, new_parser
from xfm.config.task_spec import Field, FieldKind, TaskSpec
from xfm.config.tasks import task_names, task_spec, task_specs
from xfm.core.errors import UserError, printable
from xfm.core.paths import home_path

if TYPE_CHECKING:
    from xfm.inference.base import Pipeline
    from xfm.inference.prediction import PredictionCounts
    from xfm.inference.row_sources import ReadOptions, RowSource


def parser(options: Sequence[str]) -> ArgumentParser:
    """The options of `xfm predict`; the task that they begin with adds its own."""
    first = early_word(options, "task", task_names())
    task = None if first is None else task_spec(first)  # without one, help is about all of them
    if task is None:
        specs = task_specs()
        width = max(len(spec.name) for spec in specs)
        listed = "\n".join(f"  {spec.name:<{width}}  {spec.summary}" for spec in specs)
        what = f"Tasks:\n{listed}\n"
    else:
        missing = {True: ", may be missing", False: ""}
        read = ", ".join(f"{one.name} ({one.meaning}{missing[one.optional]})" for one in task.inputs)
        what = f"The task reads {read}.\n"
    parser = new_parser(
        words=["task", "model", "input"],
        usage=f"xfm predict {task.name if task else 'TASK'} --model MODEL INPUT [--out FILE] "
        "[--OPTION VALUE ...]",
        description="Answer one input, every row of a table or of standard input, or every picture of a\n"
        "folder: a JSON line for each with its number, the columns of --keep, and the prediction.\n"
        "Without --out they are printed. A file of --out is only appended to: the same command goes\n"
        "on where a run was stopped. With --processes, --engine ray or --array it is shared: units of\n"
        f"rows are answered by several processes or machines, and put together at the end.\n{what}"
        "`xfm predict TASK --help` shows the columns and options of a task.",
        examples="  xfm predict text-classification --model runs/my/model --text 'what a film'\n"
        "  xfm predict vqa --model runs/vqa --image cat.jpg --question 'what is it?'\n"
        "  cat reviews.txt | xfm predict text-classification --model runs/my/model --input -\n"
        "  xfm predict text-classification --model runs/my/model --input rows.csv --out preds.jsonl\n"
        "  xfm predict vqa --model runs/vqa --input rows.jsonl --out preds.jsonl \\\n"
        "      --columns image=photo,question=q --keep id --max-bad 20\n"
        "  xfm predict captioning --model runs/captions --input photos --out said.jsonl --engine ray",
    )
    option(parser, "--task", "what to answer", required=True)
    option(parser, "--model", required=True)
    add_inputs(task, parser)
    option(parser, "--out", "JSON-lines file to write or to go on with, instead of printing")
    add_answering(parser, "rows that cannot be answered (logged in OUT.bad.jsonl)")
    option(parser, "--workers", "threads that read pictures; four with a GPU, none without", type=int)
    if task is not None and task.gallery:
        option(parser, "--gallery", "candidates: a folder of pictures, or a table (text or image)")
    if task is not None and task.draws:
        option(parser, "--draw", "folder for the pictures, each with its box, by row number")
    if task is not None and fields(task.options):
        add_fields(parser, task.options)
    return parser


def run(chosen: Namespace) -> None:
    task = task_spec(chosen.task)
    options = assemble(task.options, chosen)
    if chosen.out is None and chosen.restart:
        raise UserError("--restart is for a file of answers; give --out, or leave it out")
    if chosen.out is not None:
        from xfm.inference.answer_file import require_lines

        require_lines(Path(chosen.out))
    if task.gallery and chosen.gallery is None:
        raise UserError(f"{task.name} searches in a gallery: give --gallery, a folder of pictures or a table")
    from xfm.data.tables import ColumnMap
    from xfm.inference.pipeline import pipeline
    from xfm.inference.prediction import predict
    from xfm.inference.row_sources import ReadOptions, open_rows

    keep = tuple(filter(None, map(str.strip, chosen.keep.split(","))))
    root = None if chosen.pictures is None else Path(chosen.pictures)
    reading = ReadOptions(task.inputs, ColumnMap.parse(chosen.columns), keep, root, bool(chosen.allow_urls))
    source = chosen_source(chosen, task, reading) or Path(chosen.input)
    if is_shared(chosen):
        _together(chosen, task, source, options, keep)
        return
    if chosen.out is None and isinstance(source, Path):
        source = open_rows(source, reading)
    how = {name: getattr(chosen, name) for name in ("device", "precision", "batch_size", "allow_urls")}
    pipe = pipeline(task.name, chosen.model, readers=chosen.workers, **how)
    if chosen.out is None:
        assert not isinstance(source, Path)
        _print(chosen, pipe, source, options, root)
        return
    out = Path(chosen.out)
    names = ("gallery", "draw", "max_bad", "restart")
    more: dict[str, Any] = {name: getattr(chosen, name, None) for name in names}
    try:
        found = predict(pipe, source, out, options, reading=reading, progress=not chosen.quiet, **more)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command goes on with {out}") from None
    print(_said(found, out))


def _together(
    chosen: Namespace, task: TaskSpec, source: "RowSource | Path", options: Any, keep: tuple[str, ...]
) -> None:
    from xfm.inference.row_units import require_shareable
    from xfm.inference.shared_prediction import PartsTarget

    require_shareable(task, source, getattr(chosen, "draw", None))
    if chosen.out is None:
        raise UserError("several processes write a file: give --out, or leave out --engine and --array")
    target = PartsTarget(home_path(chosen.out).absolute())
    found = answer_in_units(chosen, task.name, options, keep, target, chosen.workers)
    print(others_have_not(chosen.array) if found is None else _said(found, target.path))


def _print(chosen: Namespace, pipe: "Pipeline", source: "RowSource", options: Any, root: Path | None) -> None:
    from xfm.data.skipped import SkippedRecords, left_out_lines
    from xfm.inference.gallery import Retrieval
    from xfm.inference.prediction import print_answers, read_gallery
    from xfm.inference.row_sources import OneRow

    gallery, draw = getattr(chosen, "gallery", None), getattr(chosen, "draw", None)
    if isinstance(pipe, Retrieval) and gallery is not None:
        left_out = SkippedRecords(chosen.max_bad)
        pipe.searched = read_gallery(pipe, Path(gallery), root, left_out)
        for line in left_out_lines(left_out.plain()):
            print(f"xfm: of the gallery, {printable(line)} is left out", file=sys.stderr)
    max_bad = 0 if isinstance(source, OneRow) else chosen.max_bad
    print_answers(pipe, source, options, max_bad, None if draw is None else Path(draw))


def _said(found: "PredictionCounts", out: Path) -> str:
    from xfm.inference.answer_file import bad_file

    said = answers_said(found, "row is answered in", "rows are answered in", out, bad_file(out))
    return said + (f"\nOf the gallery, {found.gallery}" if found.gallery else "")


def add_inputs(task: TaskSpec | None, parser: ArgumentParser) -> None:
    """`--input`, and the fields of one input of the task by their names."""
    meaning = "a table as finetune takes it, a picture, a folder of pictures, or - (standard input)"
    parser.add_argument("--input", type=str, default=None, help=meaning)
    for field in task.inputs if task else ():
        if field.holds is not FieldKind.TEXT:
            parser.paths |= {field.name, *field.parts}
        holds = FieldKind.PICTURE if field.parts else field.holds
        needed = ", may be missing" if field.optional else ""
        for name in field.parts or field.names:
            other = "" if name in field.parts or name == field.name else f", as --{field.name}"
            text = f"{holds} of one input{needed}{other}"
            parser.add_argument(f"--{name}", type=str, default=None, help=text)


def _one_input(chosen: Namespace, fields: Sequence[Field]) -> dict[str, str]:
    from xfm.core.paths import is_url
    from xfm.inference.input_parsing import by_field

    holds = {name: field.holds for field in fields for name in field.parts or field.names}
    given = {name: value for name in holds if (value := getattr(chosen, name, None)) is not None}
    if chosen.input is not None and given:
        raise UserError(f"give either --input or --{next(iter(given))}, not both")
    if chosen.input is not None and not chosen.input.strip():
        raise UserError("--input is empty; give a file or folder, or - for standard input")
    if chosen.input is not None:
        return {}
    if not given:
        one_of = "one of " if all(field.optional for field in fields) else ""
        shown = " or ".join(_as_options([one]) for one in fields) if one_of else _as_options(fields)
        raise UserError(f"give --input FILE, or {one_of}{shown}")
    by_field(given, fields)  # refuses what lacks a field, or has one twice
    for name, value in given.items():
        if not value.strip():
            what = "a text" if holds[name] is FieldKind.TEXT else "a picture"
            raise UserError(f"--{name} is empty; give {what}")
        if holds[name] is not FieldKind.TEXT and is_url(value) and not chosen.allow_urls:
            raise UserError(f"--{name}: {value} is an address, and these are fetched with --allow-urls only")
    own = {name: field.name for field in fields for name in field.names}
    return {own.get(name, name): value for name, value in given.items()}


def _as_options(fields: Sequence[Field]) -> str:
    needed = [field for field in fields if not field.optional] or fields
    words = {FieldKind.TEXT: "'a text'", FieldKind.PICTURE: "a.png"}
    return " ".join(
        " ".join(f"--{part} {part}.png" for part in field.parts) or f"--{field.name} {words[field.holds]}"
        for field in needed
    )


def chosen_source(chosen: Namespace, task: TaskSpec, reading: "ReadOptions") -> "RowSource | None":
    """The input, unless it is the table or folder that --input names."""
    from xfm.config.tables import LISTED, table_kind
    from xfm.inference.row_sources import OneRow, StandardInput, alone, is_image_file

    given = _one_input(chosen, reading.fields)
    path, found = Path(chosen.input or ""), None
    if given:
        found = OneRow(given)
    elif chosen.input == "-":
        found = StandardInput(sys.stdin.buffer, reading)
        print(f"Note: standard input is read as {found.form}.", file=sys.stderr)
    elif not os.path.isdir(path) and table_kind(path) is None and is_image_file(path):
        fitting = [field for field in alone(reading.fields) if field.holds is FieldKind.PICTURE]
        if not fitting:
            example = _as_options(reading.fields).replace("a.png", chosen.input)
            raise UserError(f"{path} is a picture, which is not all that {task.name} needs; give {example}")
        found = OneRow({fitting[0].name: chosen.input})
    elif table_kind(path) is None and path.is_file():
        raise UserError(f"{path} is neither a picture nor a file of {LISTED}; convert it")
    if isinstance(found, OneRow) or (found is not None and found.plain is not None):
        for option in ("keep", "columns"):
            if getattr(chosen, option):
                raise UserError(f"--{option} is for tables and JSON lines; leave it out")
    return found
