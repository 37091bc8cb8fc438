"""What `xfm predict` answers, as its options say. torch is imported when a command runs."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from xfm.config.task_spec import Field, Holds, TaskSpec
from xfm.errors import UserError

if TYPE_CHECKING:
    from xfm.config.options import Namespace, Parser
    from xfm.inference.predict.reading import Reading, RowSource


def add_inputs(task: TaskSpec | None, parser: "Parser") -> None:
    """`--input`, and the fields of one input of the task by their names."""
    parser.add_argument(
        "--input",
        type=str,
        default=None,
        help="a table as finetune takes it, a picture, a folder of pictures, or - (standard input):\n"
        "JSON lines, or lines of text or paths of pictures where one is a whole input",
    )
    for field in task.inputs if task else ():
        if field.holds is not Holds.TEXT:
            parser.paths |= {field.name, *field.parts}
        holds = Holds.PICTURE if field.parts else field.holds
        needed = ", may be missing" if field.optional else ""
        for name in field.parts or field.names:
            other = "" if name in field.parts or name == field.name else f", as --{field.name}"
            parser.add_argument(
                f"--{name}", type=str, default=None, help=f"{holds} of one input{needed}{other}"
            )


def _one_input(chosen: "Namespace", fields: Sequence[Field]) -> dict[str, str]:
    """The fields of one input that were given as options; empty where there is another input.

    Raises:
        UserError: some are missing, or there are two inputs.
    """
    from xfm.paths import is_url

    holds = {name: field.holds for field in fields for name in field.parts or field.names}
    given = {name: value for name in holds if (value := chosen.get(name)) is not None}
    if twice := [ways for field in fields if len(ways := field.ways(given)) > 1]:
        raise UserError(
            f"{' and '.join(f'--{name}' for (name,) in twice[0])} are one field; give one of them"
        )
    if chosen.input is not None and given:
        raise UserError(f"give either --input or --{next(iter(given))}, not both")
    if chosen.input is not None and not chosen.input.strip():
        raise UserError("--input is empty; give a file or folder, or - for standard input")
    if chosen.input is not None:
        return {}
    needed = [
        way
        for field in fields
        if not field.optional
        for way in field.ways(given) or [field.parts or (field.name,)]
    ]
    if lacking := [name for way in needed for name in way if name not in given]:
        begun = f"--{lacking[0]} is missing: " if given else ""
        raise UserError(f"{begun}give --input FILE, or {_as_options(fields)}")
    if not needed and len(given) != 1:
        either = " or ".join(_as_options([field]) for field in fields)
        raise UserError(f"give --input FILE, or one of {either}")
    for name, value in given.items():
        if not value.strip():
            raise UserError(
                f"--{name} is empty; give {'a text' if holds[name] is Holds.TEXT else 'a picture'}"
            )
        if holds[name] is not Holds.TEXT and is_url(value) and not chosen.allow_urls:
            raise UserError(f"--{name}: {value} is an address, and these are fetched with --allow-urls only")
    own = {name: field.name for field in fields for name in field.names}
    return {own.get(name, name): value for name, value in given.items()}


def _as_options(fields: Sequence[Field]) -> str:
    needed = [field for field in fields if not field.optional] or fields
    words = {Holds.TEXT: "'a text'", Holds.PICTURE: "a.png"}
    return " ".join(
        " ".join(f"--{part} {part}.png" for part in field.parts) or f"--{field.name} {words[field.holds]}"
        for field in needed
    )


def chosen_source(chosen: "Namespace", task: TaskSpec, reading: "Reading") -> "RowSource | None":
    """What is to be answered, unless it is the table or folder that --input names.

    Raises:
        UserError: it cannot be read, or options do not suit it.
    """
    from xfm.config.table_kinds import LISTED, table_kind
    from xfm.inference.predict.direct import OneRow, StandardInput, alone, is_picture_file

    given = _one_input(chosen, reading.fields)
    path, found = Path(chosen.input or ""), None
    if given:
        found = OneRow(given)
    elif chosen.input == "-":
        found = StandardInput(sys.stdin.buffer, reading)
        print(f"Note: standard input is read as {found.form}.", file=sys.stderr)
    elif not os.path.isdir(path) and table_kind(path) is None and is_picture_file(path):
        fitting = [field for field in alone(reading.fields) if field.holds is Holds.PICTURE]
        if not fitting:
            example = _as_options(reading.fields).replace("a.png", chosen.input)
            raise UserError(f"{path} is a picture, which is not all that {task.name} needs; give {example}")
        found = OneRow({fitting[0].name: chosen.input})
    elif table_kind(path) is None and path.is_file():
        raise UserError(f"{path} is neither a picture nor a file of {LISTED}; convert it")
    if isinstance(found, OneRow) or (found is not None and found.plain is not None):
        for option in ("keep", "columns"):
            if chosen[option]:
                raise UserError(f"--{option} is for tables and JSON lines; leave it out")
    return found
