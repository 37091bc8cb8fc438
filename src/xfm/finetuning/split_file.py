"""`split.json`: which rows of a table are in which split, to be used again."""

import json
from collections.abc import Container, Mapping, Sequence
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.core.files import read_text
from xfm.data.tables import TableRow
from xfm.reports.scores import write_json
from xfm.training.checkpoint import list_checkpoints

SPLIT_FILE, LEFT_OUT, SPLITS = "split.json", "left_out", ("train", "valid", "test")
Split = dict[str, list[int]]


def write_split(
    out: Path,
    table: str | Path,
    seed: int | None,
    rows: Mapping[str, Sequence[TableRow]],
    left_out: Sequence[int] = (),
) -> None:
    """Write which rows became which split, by the numbers that messages have.

    Args:
        out: folder of the run.
        table: the table of the rows.
        seed: that drew them, None if nothing was drawn.
        rows: by split.
        left_out: numbers of rows that are in none, because of their pictures.
    """
    if (out / SPLIT_FILE).exists() and list_checkpoints(out):
        return  # a run that is resumed has its own; if these rows are others, it says so later
    numbers = {name: [row.number for row in own] for name, own in rows.items()}
    content = {"file": str(table), "seed": seed, "rows": numbers}
    write_json(out / SPLIT_FILE, {**content, **({LEFT_OUT: list(left_out)} if left_out else {})})


def read_split(path: Path) -> tuple[Split, frozenset[int]]:
    """Row numbers by split, and those that were left out.

    Args:
        path: a split.json, or the folder of a run that has one.

    Raises:
        UserError: the file cannot be read, or is no split.
    """
    path = path / SPLIT_FILE if path.is_dir() else path
    try:
        content = json.loads(read_text(path))
        found: Any = content["rows"]
        absent = frozenset(content.get(LEFT_OUT, ()))
    except OSError as error:
        raise UserError(f"{path}: cannot read the file ({error.strerror or error}); check --split") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        found, absent = None, frozenset[int]()
    if not isinstance(found, dict) or not all(map(_is_part, found.items())) or not found.get("train"):
        raise UserError(
            f'{path} is not a split: it must hold {{"rows": {{"train": [NUMBER, ...], "valid": [...], '
            '"test": [...]}}, as the split.json of a fine-tuning does'
        )
    return found, absent


def _is_part(item: tuple[object, object]) -> bool:
    name, numbers = item
    return name in SPLITS and isinstance(numbers, list) and all(type(one) is int for one in numbers)


def part_as(
    split: Split, path: Path, rows: Sequence[TableRow], left_out: Container[str] = ()
) -> dict[str, list[int]]:
    """The places of a table's rows by split.

    Args:
        split: as `read_split` has it.
        path: its file, for messages.
        rows: of the table, all of them but those that were left out.
        left_out: their places.

    Raises:
        UserError: a row is in no split or in two, or a row of the split is not in the table; names it.
    """
    places = {row.number: place for place, row in enumerate(rows)}
    parts: dict[str, list[int]] = {}
    seen: dict[int, str] = {}
    for name, numbers in split.items():
        for number in numbers:
            if number not in places:
                if f"{rows[0].file}:{number}" in left_out:
                    continue
                raise UserError(f"{path}: {rows[0].file} has no row {number}; give the table of this split")
            if number in seen:
                raise UserError(
                    f"{path}: row {number} is in {seen[number]} and in {name}; take it out of one"
                )
            seen[number] = name
        parts[name] = [places[number] for number in numbers if number in places]
    if absent := [row for row in rows if row.number not in seen]:
        raise UserError(
            f"{absent[0].place}: the row is in no split of {path}; add it there, or leave out --split"
        )
    return parts
