"""A benchmark's rows as its authors split them, and readers of its JSON, TSV and Parquet files."""

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from xfm.core.errors import UserError, explained
from xfm.core.files import MAX_OFFICIAL, read_text, reading
from xfm.data.records import is_text
from xfm.data.tables import TableRow
from xfm.data.tables.json_list import read_json_records
from xfm.data.tables.parquet import read_parquet

T = TypeVar("T")
_DIGITS = re.compile(r"-?[0-9]{1,18}")


def need(folder: Path, *names: str) -> Path:
    """The first of several files or folders that exists; UserError names the first."""
    for name in names:
        if (folder / name).exists():
            return folder / name
    raise UserError(f"{folder / names[0]} does not exist; put the official file there")


def image_below(folder: Path, name: str, row: TableRow, field: str) -> Path:
    """The picture that a row names below a folder; UserError if its name leaves the folder. Only names are
    checked: people link picture folders to other disks, and an official file cannot make links."""
    if "\0" in name or name.startswith("/") or ".." in name.split("/") or ":" in name or "\\" in name:
        raise row.error(field, "leaves the folder of the pictures")
    return folder / name


def read_json(path: Path) -> Any:
    """Content of a JSON file of at most `MAX_OFFICIAL` bytes."""
    flaw = f"{path} is not valid JSON"
    with reading(path), explained(flaw, "download it again", ValueError, RecursionError):
        return json.loads(read_text(path, MAX_OFFICIAL, encoding="utf-8-sig"))


def read_json_rows(path: Path, *fields: str, required: Sequence[str] = ()) -> list[TableRow]:
    """Rows of the list of objects that `fields` lead to; each object must have the `required` fields."""
    content = read_json(path)
    for name in fields:
        content = content.get(name) if isinstance(content, Mapping) else None
    where = f' at "{".".join(fields)}"' if fields else ""
    if not isinstance(content, list) or not content:
        raise UserError(f"{path}: there is no list of objects{where}; is it the official file?")
    return [as_row(value, path, number, required) for number, value in enumerate(content, start=1)]


def read_lines(path: Path, required: Sequence[str] = ()) -> list[TableRow]:
    """Rows of a JSON-lines file; each must have the `required` fields."""
    lines = read_json_records(path).rows(frozenset())
    rows = [as_row(line.checked(path), path, line.number, required) for line in lines]
    if not rows:
        raise UserError(f"{path}: the file holds no rows; check the path, or download it again")
    return rows


def as_row(value: object, path: Path, number: int, required: Sequence[str] = ()) -> TableRow:
    """An object of a file as a row with the `required` fields."""
    if not isinstance(value, Mapping):
        raise UserError(f"{path}:{number}: the entry is not an object; download the file again.")
    row = TableRow(value, path, number)
    for name in required:
        if name not in value:
            raise row.error(name, "is missing")
    return row


def inner_rows(row: TableRow, field: str, required: Sequence[str] = ()) -> list[TableRow]:
    """Objects in a list field of a row; they report the row's number."""
    value = row.get(field)
    if not isinstance(value, list):
        raise row.error(field, "is not a list")
    return [as_row(item, row.file, row.number, required) for item in value]


def integer(row: TableRow, field: str) -> int:
    """An integer of 64 bits; a string of digits counts."""
    value = row.get(field)
    if isinstance(value, str) and _DIGITS.fullmatch(value.strip()):
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) >= 1 << 63:
        raise row.error(field, "is not a whole number")
    return value


def string(row: TableRow, field: str) -> str:
    """A string, which may be blank, or a number as it is written."""
    value = row.get(field)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise row.error(field, "is missing or not a string")
    text = str(integer(row, field) if isinstance(value, int) else value)
    if not is_text(text):
        raise row.error(field, "is not Unicode")
    return text


def chosen(row: TableRow, field: str, options: Mapping[Any, T]) -> T:
    """The value of the option that a field holds."""
    value = row.get(field)
    try:
        return options[value]
    except (KeyError, TypeError):
        known = ", ".join(str(option) for option in options)
        raise row.error(field, f"is {value!r}, none of {known}") from None


# ---------------------------------------------------------------- tables
def parquet_files(folder: Path, split: str) -> list[Path]:
    """Files of a split as the hub names them, `SPLIT-00000-of-00001.parquet`, here or in `data/`. Empty where
    there are none; UserError where some of the numbered files are missing."""
    numbered = re.compile(rf"{re.escape(split)}-[0-9]{{1,9}}-of-[0-9]{{1,9}}\.parquet")
    for below in (folder, folder / "data"):
        paths = below.glob(f"{split}-*-of-*.parquet")
        if found := sorted(path for path in paths if numbered.fullmatch(path.name)):
            total = int(found[0].stem.rpartition("-")[2])
            if len(found) != total:
                raise UserError(
                    f"{below}: {len(found)} of the {total} files of {split} are there; get the rest"
                )
            return found
        if (below / f"{split}.parquet").is_file():
            return [below / f"{split}.parquet"]
    return []


def need_parquet(folder: Path, split: str) -> list[Path]:
    """Files of a split, at least one."""
    return parquet_files(folder, split) or [need(folder, f"{split}-00000-of-00001.parquet")]


def parquet_rows(files: Sequence[Path], columns: Sequence[str]) -> Iterator[TableRow]:
    """Rows of Parquet files with these columns; class numbers become a file's names, -1 None."""
    for path in files:
        records = read_parquet(path)
        there = records.columns or ()
        for name in columns:
            if name not in there:
                known = ", ".join(there)
                raise UserError(f"{path}: there is no column {name}, only {known}; is it the official file?")
        for raw in records.rows(frozenset(columns)):
            yield TableRow(raw.checked(path), path, raw.number)


R = TypeVar("R")


@dataclass(frozen=True)
class Corpus(Generic[R]):
    """Rows of a benchmark, split as published: `scored` with answers, of which the first split selects the
    epoch if it `chooses`, and `hidden` with a placeholder as the answer. `classes` are in the order of the
    outputs; on `answers` questions are ranked (empty: on those of the training rows). `left_out` has reasons
    by file and row of training rows that were dropped, `notes` decisions where the files leave something
    open. `validation` rows choose a probe's penalty."""

    train: Sequence[R]
    scored: Mapping[str, Sequence[R]]
    hidden: Mapping[str, Sequence[R]] = field(default_factory=dict[str, Sequence[R]])
    classes: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    chooses: bool = True
    left_out: Mapping[str, str] = field(default_factory=dict[str, str])
    notes: Mapping[str, str] = field(default_factory=dict[str, str])
    validation: Sequence[R] = ()

    @property
    def valid(self) -> Sequence[R]:
        """Rows that select the epoch; none where the last epoch counts."""
        return next(iter(self.scored.values()), ()) if self.chooses else ()

    def thinned(self, train: int, test: int) -> "Corpus[R]":
        """Some evenly spaced rows of every split, for a smoke run."""
        return replace(
            self,
            train=_spaced(self.train, train),
            scored={name: _spaced(rows, test) for name, rows in self.scored.items()},
            hidden={name: _spaced(rows, test) for name, rows in self.hidden.items()},
            validation=_spaced(self.validation, test),
        )


def _spaced(rows: Sequence[R], count: int) -> Sequence[R]:
    if len(rows) <= count:
        return rows
    return [rows[place * len(rows) // count] for place in range(count)]


def check_image_file(path: Path, where: str) -> None:
    """UserError if the folder of a picture is empty or missing; a single picture may be missing."""
    if not is_there(path):
        raise UserError(f"{path} does not exist; {where}")


def is_there(path: Path) -> bool:
    """Whether a picture is there, or at least others in its folder."""
    folder = os.path.dirname(path)
    return os.path.isfile(path) or (os.path.isdir(folder) and bool(os.listdir(folder)))
