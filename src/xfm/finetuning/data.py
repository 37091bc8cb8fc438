"""Tables of one task as typed rows: read, parted where no split is given, checked; their origin."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError, amount, excerpt
from xfm.data.skipped import SkippedRecords
from xfm.data.tables import ColumnMap, InMemory, TableRow, read_table, split_rows
from xfm.finetuning.presets import chosen_folds
from xfm.finetuning.row_filter import few, first_places, readable_rows
from xfm.finetuning.splits import (
    kept_together,
    part_as,
    read_split,
    require_folds,
    strata_of,
    with_all_labels,
    write_split,
)
from xfm.models.folder import Pretrained
from xfm.tasks.base import Task
from xfm.tasks.class_task import ClassTask
from xfm.tasks.images import Pictures
from xfm.tasks.labelling import class_names, require_classes
from xfm.tasks.rows import CellMeaning, SplitRows

Row = TypeVar("Row")

PICTURES_FOLDER = "pictures"
FEWEST = 4
"""Rows without which no split can be made."""
MOST = 5000
"""Rows that a split takes from the training rows at most: it is looked at often."""
SEPARATOR = FinetuneConfig.label_separator
MANY_CLASSES = 0.5
"""Share of distinct labels from which they look like values."""


@dataclass(frozen=True)
class Tables:
    """Own tables. None for `valid` and `test` takes a share of the training rows; `pictures` is where paths
    start (None: at the table), `split` is an earlier run's split.json."""

    train: str | Path | InMemory
    valid: str | Path | InMemory | None = None
    test: str | Path | InMemory | None = None
    columns: ColumnMap = field(default_factory=ColumnMap)
    pictures: Path | None = None
    split: Path | None = None


@dataclass(frozen=True)
class RowOrigin:
    """Origin of rows for messages and reports: file and row by picture and by row (of equal rows the first).
    With `folds` no split was drawn; `lazily` decodes only training pictures that fit into memory."""

    places: Mapping[Path, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[Any, str] = field(default_factory=dict)
    tables: Tables | None = None
    base: tuple[Pretrained, Pictures] | None = None
    left_out: SkippedRecords | None = None
    folds: int = 0
    lazily: bool = False

    def place_of(self, row: Any, pictures: Sequence[Path]) -> str:
        """File and row of a typed row, or those that first name its picture; empty where not known."""
        return self.rows.get(row) or next((self.places[one] for one in pictures if one in self.places), "")


def reading(config: FinetuneConfig) -> CellMeaning:
    """How cells are meant."""
    return CellMeaning(
        config.box_format, config.box_unit, config.regression, config.label_kind, config.label_separator
    )


def read_data(
    task: type[Task[Row, Any, Any]],
    tables: Tables,
    config: FinetuneConfig,
    out: Path,
    pictures: Pictures | None = None,
    left_out: SkippedRecords | None = None,
    progress: bool = False,
) -> tuple[SplitRows[Row], RowOrigin]:
    """Read tables, leave out unreadable pictures, split the rows (written to `split.json`), check labels.
    None for `pictures` reads only those that a typed row needs. UserError names file, row and column."""
    given = {"train": tables.train, "valid": tables.valid, "test": tables.test}
    left_out = left_out or SkippedRecords(config.max_bad)
    raw, typed = _read_all(task, tables, given, config, out, pictures, left_out, progress)
    sources = {name: str(source) for name, source in given.items() if source is not None}
    seed, drawn = None, f"as in {tables.split}"
    folds = _folds(task, tables, config, len(typed["train"]))
    if folds:
        require_folds(task, [row for _, row in typed["train"]], folds, str(tables.train))
    elif tables.split is not None:
        typed = _as_before(tables.split, typed, left_out)
    elif tables.valid is None:
        shares = {"valid": config.valid_share, "test": config.test_share}
        missing = {name: share for name, share in shares.items() if name not in typed}
        typed = _part(task, typed, missing, config.seed)
        seed, drawn = config.seed, f"drawn by seed {config.seed}"
    labels = _labels(task, typed)
    if not folds and not any(typed.get(name) for name in ("valid", "test")):
        raise UserError(
            f"{tables.train}: no rows can be parted from the others, because they share pictures or texts, "
            "or are the only ones of their class; give --validation and --test"
        )
    if parted := [name for name in typed if name not in sources]:
        sources |= {name: f"{len(typed[name])} rows of {tables.train}, {drawn}" for name in parted}
        numbered = {name: [row for row, _ in typed[name]] for name in ("train", *parted)}
        used = {row.number for rows in numbered.values() for row in rows}
        absent = [row.number for row in raw["train"] if row.number not in used]
        write_split(out, str(tables.train), seed, numbered, absent)
    plain = {name: task.merge([converted for _, converted in rows]) for name, rows in typed.items()}
    split = SplitRows(plain["train"], plain.get("valid", ()), plain.get("test", ()), labels=labels)
    every = [pair for rows in typed.values() for pair in rows]
    row_places = {converted: row.place for row, converted in reversed(every)}
    return split, RowOrigin(first_places(task, every), sources, row_places, folds=folds)


def _folds(task: type[Task[Any, Any, Any]], tables: Tables, config: FinetuneConfig, rows: int) -> int:
    given = {"--validation": tables.valid, "--split": tables.split}
    named = [name for name, one in given.items() if one is not None]
    folds = chosen_folds(config, task.spec, rows, bool(named))
    if folds and named:
        raise UserError(
            f"--folds: every fold takes its validation rows from the others, so that {named[0]} has no use; "
            "leave one of the two out"
        )
    return folds


def _read_all(
    task: type[Task[Row, Any, Any]],
    tables: Tables,
    given: Mapping[str, str | Path | InMemory | None],
    config: FinetuneConfig,
    out: Path,
    pictures: Pictures | None,
    left_out: SkippedRecords,
    progress: bool,
) -> tuple[dict[str, list[TableRow]], dict[str, list[tuple[TableRow, Row]]]]:
    store, root = out / PICTURES_FOLDER, tables.pictures
    raw = {
        name: read_table(source, task.spec.fields, tables.columns, store, root, left_out)
        for name, source in given.items()
        if source is not None
    }
    typed = readable_rows(task, raw, reading(config), left_out, pictures, progress)
    for name, rows in raw.items():
        left_out.count(str(given[name]), name, len(rows), len(rows) - len(typed[name]))
    return raw, typed


def _as_before(
    path: Path, typed: Mapping[str, list[tuple[TableRow, Row]]], left_out: SkippedRecords
) -> dict[str, list[tuple[TableRow, Row]]]:
    """The same with the split of an earlier run."""
    (split, absent), rows = read_split(path), typed["train"]
    for row, _ in rows:
        if row.number in absent:
            left_out.add(row.place, f"it was left out when {path} was written")
    rows = [(row, one) for row, one in rows if row.number not in absent]
    if twice := [name for name in split if name != "train" and name in typed]:
        option = {"valid": "--validation"}.get(twice[0], f"--{twice[0]}")
        raise UserError(
            f"--split: {path} has rows of {twice[0]}, and {option} is given too; leave one of them out"
        )
    parts = part_as(split, path, [row for row, _ in rows], left_out.rows)
    return {**typed, **{name: [rows[place] for place in places] for name, places in parts.items() if places}}


def _part(
    task: type[Task[Row, Any, Any]],
    typed: Mapping[str, list[tuple[TableRow, Row]]],
    shares: Mapping[str, float],
    seed: int,
) -> dict[str, list[tuple[TableRow, Row]]]:
    rows = typed["train"]
    if len(rows) < FEWEST:
        raise UserError(
            f"{rows[0][0].file} has {amount(len(rows), 'row')}, too few to part; add rows, or give "
            "--validation and --test"
        )
    shares = {name: min(share, MOST / len(rows)) for name, share in shares.items()}
    converted = [row for _, row in rows]
    groups = kept_together(task, converted)
    parts = split_rows(groups, strata_of(task, converted), shares, seed)
    parts = with_all_labels([task.labels_of(row) for row in converted], groups, parts)
    found = {name: [rows[place] for place in places] for name, places in parts.items()}
    return {**typed, "train": found.pop("rest"), **found}


def _labels(
    task: type[Task[Row, Any, Any]], typed: Mapping[str, list[tuple[TableRow, Row]]]
) -> tuple[str, ...]:
    if not issubclass(task, ClassTask):
        return ()
    found = [task.labels_of(row) for _, row in typed["train"]]
    names = class_names([name for own in found for name in own])
    row = typed["train"][0][0]
    require_classes(names, f"the training rows of {row.file}")
    column = row.names.get("label", "label")
    given = sum(map(len, found))
    if given > 20 and len(names) > MANY_CLASSES * given:
        hint = "; for values give --regression" if all(map(_is_value, names)) else ""
        if SEPARATOR in "".join(names):
            hint = f"; for several labels a row, with {SEPARATOR} between them, give --multi-label"
        raise UserError(
            f'{row.file}: the column "{column}" has {len(names)} different labels in {len(found)} training '
            f"rows, too many to learn classes from; choose another column{hint}"
        )
    known = set(names)
    for split in ("valid", "test"):
        for row, converted in typed.get(split, ()):
            for label in task.labels_of(converted):
                if label not in known:
                    raise UserError(
                        f'{row.place}: the column "{column}" is {excerpt(label)!r}, a label that no '
                        f"training row has; the training rows have {few(map(excerpt, names))}: mend "
                        "the row, or add such rows to the training"
                    )
    return names


def _is_value(name: str) -> bool:
    try:
        float(name)
    except ValueError:
        return False
    return True
