"""Tables of one task as typed rows: read, checked, split; and their origin."""

from collections import Counter
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError, amount, excerpt
from xfm.data.records import is_number
from xfm.data.skipped import SkippedRecords
from xfm.data.tables import ColumnMap, InMemory, read_table, split_rows
from xfm.finetuning.start import TypedRow, few, readable_rows
from xfm.reports.scores import write_json
from xfm.tasks.base import AnyTask
from xfm.tasks.class_task import ClassTask
from xfm.tasks.images import TaskImages
from xfm.tasks.labelling import class_names, require_classes
from xfm.tasks.rows import CellMeaning, SplitRows
from xfm.tasks.sampling import components
from xfm.training.checkpoint import list_checkpoints

SPLIT_FILE = "split.json"


def kept_together(task: type[AnyTask], rows: Sequence[Any]) -> list[Hashable]:
    """Group of each row by `Task.together`; every row alone if that would connect more than half of them."""
    things = [task.together(row) for row in rows]
    numbers = components(things)
    groups: list[Hashable] = [numbers[own[0]] for own in things]
    connects = any(len(own) > 1 for own in things) or any(map(task.images_of, rows))
    if connects and max(Counter(groups).values()) > len(rows) / 2:
        return list(range(len(rows)))
    return groups


def strata_of(task: type[AnyTask], rows: Sequence[Any]) -> list[str | None]:
    """The class of each row, or the rarest of its labels, which a draw may miss."""
    own = [task.labels_of(row) for row in rows]
    counts = Counter(name for labels in own for name in labels)
    return [min(labels, key=lambda name: (counts[name], name), default=None) for labels in own]


def with_all_labels(
    labels: Sequence[Sequence[str]], groups: Sequence[Hashable], parts: Mapping[str, Sequence[int]]
) -> dict[str, list[int]]:
    """Parts of row numbers, but groups with a label that training rows would lack go to them."""
    found = {name: list(rows) for name, rows in parts.items()}
    known = {name for row in found["rest"] for name in labels[row]}
    for part, rows in parts.items():
        for row in rows if part != "rest" else ():
            if known.issuperset(labels[row]) or row not in found[part]:
                continue
            moved = [one for one in found[part] if groups[one] == groups[row]]
            found[part] = [one for one in found[part] if groups[one] != groups[row]]
            found["rest"] += moved
            known |= {name for one in moved for name in labels[one]}
    return {name: sorted(rows) for name, rows in found.items()}


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
    start (None: at the table)."""

    train: str | Path | InMemory
    valid: str | Path | InMemory | None = None
    test: str | Path | InMemory | None = None
    columns: ColumnMap = field(default_factory=ColumnMap)
    pictures: Path | None = None


@dataclass(frozen=True)
class RowOrigin:
    """File and row of each picture and row (of equal ones the first), for messages and reports."""

    places: Mapping[Path, str] = field(default_factory=dict)
    sources: Mapping[str, str] = field(default_factory=dict)
    rows: Mapping[Any, str] = field(default_factory=dict)
    tables: Tables | None = None

    def place_of(self, row: Any, pictures: Sequence[Path]) -> str:
        """File and row of a typed row, or those that first name its picture; empty where not known."""
        return self.rows.get(row) or next((self.places[one] for one in pictures if one in self.places), "")


def reading(config: FinetuneConfig) -> CellMeaning:
    """How cells are meant."""
    return CellMeaning(config.box_format, config.box_unit, config.label_kind, config.label_separator)


def read_data(
    task: type[AnyTask],
    tables: Tables,
    config: FinetuneConfig,
    out: Path,
    pictures: TaskImages | None = None,
    left_out: SkippedRecords | None = None,
    progress: bool = False,
) -> tuple[SplitRows[Any], RowOrigin]:
    """Read tables, leave out unreadable pictures, split the rows (written to `split.json`), check labels.
    None for `pictures` reads only those that a typed row needs. UserError names file, row and column."""
    given = {"train": tables.train, "valid": tables.valid, "test": tables.test}
    left_out = left_out or SkippedRecords(config.max_bad)
    store, root = out / PICTURES_FOLDER, tables.pictures
    raw = {
        name: read_table(source, task.spec.fields, tables.columns, store, root, left_out)
        for name, source in given.items()
        if source is not None
    }
    typed = readable_rows(task, raw, reading(config), left_out, pictures, progress)
    sources = {name: str(given[name]) for name in raw}
    if tables.valid is None:
        shares = {"valid": config.valid_share, "test": config.test_share}
        missing = {name: share for name, share in shares.items() if name not in typed}
        typed = _part(task, typed, missing, config.seed)
    labels = _labels(task, typed)
    if not any(typed.get(name) for name in ("valid", "test")):
        raise UserError(
            f"{tables.train}: no rows can be parted from the others, because they share pictures or texts, "
            "or are the only ones of their class; give --validation and --test"
        )
    if parted := [name for name in typed if name not in sources]:
        drawn = f"{tables.train}, drawn by seed {config.seed}"
        sources |= {name: f"{len(typed[name])} rows of {drawn}" for name in parted}
        numbers = {name: [row.number for row, _ in typed[name]] for name in ("train", *parted)}
        # A run that is resumed has its own; if these rows are others, it says so later.
        if not ((out / SPLIT_FILE).exists() and list_checkpoints(out)):
            write_json(out / SPLIT_FILE, {"file": str(tables.train), "seed": config.seed, "rows": numbers})
    plain = {name: task.merge([converted for _, converted in rows]) for name, rows in typed.items()}
    split = SplitRows(plain["train"], plain.get("valid", ()), plain.get("test", ()), labels=labels)
    every = [pair for rows in typed.values() for pair in rows][::-1]  # the first place of what is there twice
    row_places = {converted: row.place for row, converted in every}
    pictures_at = {picture: row.place for row, converted in every for picture in task.images_of(converted)}
    return split, RowOrigin(pictures_at, sources, row_places)


def _part(
    task: type[AnyTask], typed: Mapping[str, list[TypedRow]], shares: Mapping[str, float], seed: int
) -> dict[str, list[TypedRow]]:
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


def _labels(task: type[AnyTask], typed: Mapping[str, list[TypedRow]]) -> tuple[str, ...]:
    if not issubclass(task, ClassTask):
        return ()
    found = [task.labels_of(row) for _, row in typed["train"]]
    names = class_names([name for own in found for name in own])
    row = typed["train"][0][0]
    require_classes(names, f"the training rows of {row.file}")
    column = row.names.get("label", "label")
    given = sum(map(len, found))
    if given > 20 and len(names) > MANY_CLASSES * given:
        hint = "; for values give --regression" if all(map(is_number, names)) else ""
        if SEPARATOR in "".join(names):
            hint = f"; for several labels a row, with {SEPARATOR} between them, give --multi-label"
        raise UserError(
            f'{row.file}: the column "{column}" has {len(names)} different labels in {len(found)} training '
            f"rows, too many to learn classes from; choose another column{hint}"
        )
    known, scored = set(names), [pair for split in ("valid", "test") for pair in typed.get(split, ())]
    for row, label in ((row, label) for row, one in scored for label in task.labels_of(one)):
        if label not in known:
            raise UserError(
                f'{row.place}: the column "{column}" is {excerpt(label)!r}, a label that no training row '
                f"has; the training rows have {few(map(excerpt, names))}: mend the row, or add such rows to "
                "the training"
            )
    return names
