"""Commands that a user can paste, made of what a command was given. Nothing here imports torch."""

import os
import shlex
import shutil
import sys
from collections.abc import Collection
from pathlib import Path

from xfm.config.tables import table_kind
from xfm.config.tasks import task_spec


def command_line(*words: str | Path, **options: str | Path | None) -> str:
    """A command of xfm, quoted for a shell; options that are None or empty are left out."""
    named = [part for name, value in options.items() if value for part in (f"--{name}", str(value))]
    return shlex.join([program(), *map(str, words), *named])


def program() -> str:
    """What a shell here calls xfm by: its name if that is on the PATH, else where it is installed."""
    installed, here = Path(sys.executable).with_name("xfm"), Path.cwd()
    if shutil.which("xfm") or not installed.exists():
        return "xfm"
    return str(installed.relative_to(here) if installed.is_relative_to(here) else installed)


def next_command(
    task: str,
    model: Path | str,
    table: Path | str,
    out: Path | str,
    columns: str = "",
    pictures: Path | str | None = None,
    shown: Collection[Path] = (),
) -> str:
    """The command that answers with a fine-tuned model on its own table. A table that is no file becomes
    `new.csv`, its pictures `photos`; captions search in that of `shown`."""
    pairs = (part.partition("=") for part in columns.split(",") if "=" in part)
    given = {name.strip(): column.strip() for name, _, column in pairs}
    asked: dict[str, str] = {}
    gallery = None
    place = Path(table)
    is_there = place.is_dir() or table_kind(place) is not None
    if task == "retrieval":  # captions search among the pictures
        beside = (place if place.is_dir() else place.parent) if is_there else "photos"
        gallery = pictures or beside
        if shown:  # the lowest folder of all; relative where it lies below this one
            found = Path(os.path.commonpath({str(picture.absolute().parent) for picture in shown}))
            gallery = found.relative_to(Path.cwd()) if found.is_relative_to(Path.cwd()) else found
        asked = {"text": given.get("caption", "caption"), "image": ""}
    else:
        for field in task_spec(task).inputs:
            known = [name for name in (*field.names, *field.parts) if name in given]
            asked |= {name: given[name] for name in known}
    return command_line(
        "predict",
        task,
        model=model,
        input=table if is_there else "new.csv",
        gallery=gallery,
        columns=",".join(f"{name}={column}" for name, column in asked.items()),
        pictures=pictures if is_there else None,
        out=Path(out) / "answers.jsonl",
    )
