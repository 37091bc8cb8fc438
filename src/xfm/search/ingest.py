"""Collections filled from sources; a folder of pictures as its own collection."""

import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.core.errors import UserError, amount, printable
from xfm.core.files import read_json_or_nothing, write_text, writing
from xfm.core.locks import FolderInUseError
from xfm.data.skipped import BAD_FILE, SkippedRecords
from xfm.data.tables.records import stored_size
from xfm.executors.executor import Executor
from xfm.executors.sharded_map import AGAIN, ShardedMap, find_plan
from xfm.inference.row_sources import known_path
from xfm.inference.row_units import model_of, settings_mark
from xfm.search.encoding import (
    PART,
    EncodingMark,
    IndexUnit,
    IndexWork,
    cut_file,
    index_units,
    known_file,
    read_part,
)
from xfm.search.filters import Kind, require_same
from xfm.search.index import Index, IngestCounts
from xfm.search.journal import HIDDEN, MANIFEST, CollectionManifest, Journal
from xfm.search.opening import open_index
from xfm.search.sources import FolderSupply, IngestItem, PictureSupply


def fill(
    index: Index, sources: Sequence[PictureSupply], left_out: SkippedRecords, progress: bool = True
) -> IngestCounts:
    """Take in the sources' pictures; a stopped run goes on when called again.

    UserError: too many unreadable pictures, an unreadable source, or columns of other types (nothing is taken
    then).
    """
    whole = IngestCounts()
    require_same(index.about.fields, (source.columns() for source in sources))
    for source in sources:
        tell_numbers(source)
        if source.report:
            left_out.folder(source.report)
        with tqdm(total=source.total, unit=source.unit, desc="pictures", disable=not progress) as bar:
            whole.clash = None
            taken = index.add(_watched(source.candidates(), bar), left_out, whole)
        if taken.clash is not None:
            tell_clash(*taken.clash)
        tell_left_out(source.left_out)
    index.flush()
    return whole


def tell_numbers(source: PictureSupply) -> None:
    """Say which columns of a table of texts are taken for numbers."""
    found = [(one.place, name) for name, one in source.columns().items() if one.kind is Kind.NUMBER]
    if found:
        names = ", ".join(printable(name) for _, name in found)
        print(
            f"Note: {printable(found[0][0])} has nothing but numbers in {names}: conditions compare them as "
            "such; --as-text NAME,... keeps texts",
            file=sys.stderr,
        )


def tell_clash(key: str, table: str) -> None:
    """Say that another table has a picture of this name, and the remedy."""
    print(
        f"Note: {printable(key)} is the id of a picture of {printable(table)}, too, and such are left out. "
        "With --key id they take the place of the others; --key with another column, such as image, takes "
        "both",
        file=sys.stderr,
    )


def tell_left_out(fields: Mapping[str, int]) -> None:
    """Say which fields are no metadata, and in how many rows."""
    for name, rows in fields.items():
        print(
            f"Note: {printable(name)} is no text, number or truth value in {amount(rows, 'row')}: no "
            "condition can be about it",
            file=sys.stderr,
        )


def tell_bad(folder: Path, left_out: SkippedRecords) -> None:
    """Name an unreadable picture, and log all of them in the collection's folder."""
    left_out.write(folder)
    if left_out.rows:
        place, reason = next(iter(left_out.rows.items()))
        count = amount(len(left_out.rows), "picture")
        told = f"Note: {count} cannot be read: {place} ({reason}); all in {folder / BAD_FILE}"
        print(printable(told), file=sys.stderr)


def _watched(candidates: Iterator[IngestItem], bar: Any) -> Iterator[IngestItem]:
    for one in candidates:
        yield one
        bar.update(one.read - bar.n)


def said(taken: IngestCounts) -> str:
    """The counts in a sentence."""
    parts = [f"{taken.new:,} new"]
    for count, what in (
        (taken.replaced, "changed and taken again"),
        (taken.displaced, "in the place of those of another table with the same name"),
        (taken.known, "known"),
        (taken.duplicates, "exactly like another one, left out"),
        (taken.clashing, "with the name of one of another table, left out"),
        (taken.bad, "that cannot be read, left out"),
    ):
        if count:
            parts.append(f"{count:,} {what}")
    return f"Pictures: {'; '.join(parts)}."


def is_index(folder: Path) -> bool:
    """Whether a folder is a collection."""
    return (folder / MANIFEST).exists()


@contextmanager
def folder_index(
    folder: Path, model: Any, left_out: SkippedRecords, progress: bool = True, **running: Any
) -> Iterator[Index]:
    """The collection in a folder of pictures, made at first, then following the folder.

    Open for reading where another process writes. UserError: no pictures, or a folder that cannot be written.
    """
    place, source = folder / HIDDEN, FolderSupply(folder)
    if not source.total:
        raise UserError(f"{folder} is no collection, and holds no pictures to make one of; check the path")
    if not is_index(place) and not os.access(folder, os.W_OK):
        raise UserError(
            f"{folder} cannot be written, where its collection would be: make one elsewhere with `xfm index "
            f"build --images {folder} --out FOLDER`"
        )
    with ExitStack() as stack:
        try:
            index = stack.enter_context(open_index(place, model, make=True, **running))
        except FolderInUseError as error:
            print(f"Note: {error}. Until then what is there is searched.", file=sys.stderr)
            yield stack.enter_context(open_index(place, model, writing=False, **running))
            return
        present = set(source.keys())
        gone = [key for key in index.journal.offered() if key not in present]
        removed = index.remove(gone)
        taken = fill(index, [source], left_out, progress)
        if taken.new or taken.replaced or removed:
            less = f" {amount(removed, 'is', 'are')} gone from the folder." if removed else ""
            tell_bad(place, left_out)
            print(f"{said(taken)}{less} The collection is in {place}.", file=sys.stderr)
        yield index


UNIT_PICTURES = 256
"""Pictures of a unit where nobody said how many."""
_TAKEN = "taken.json"

FilledCallback = Callable[[Index, IngestCounts], None]
"""Is told of a collection that is filled, and open for writing, what was taken in."""


def fill_together(
    place: Path,
    work: IndexWork,
    opening: Callable[[], AbstractContextManager[Index]],
    executor: Executor,
    filled: FilledCallback,
    *,
    unit_rows: int = 0,
    max_bad: int | None = None,
    progress: bool = False,
) -> bool:
    """Take in the sources' pictures in units, or go on; False where other tasks of an array have work left.

    `filled` is called with the open collection and counts at the end. UserError: too many unreadable
    pictures, or files that cannot be read or written.
    """
    folder, size = place.with_name(f".{place.name}.working"), unit_rows or UNIT_PICTURES
    with ExitStack() as stack:
        index = None if executor.is_array_task else stack.enter_context(opening())
        parts = _planned(folder, work, size, place, index)
        units = index_units(work, folder, parts)
        taking = None if index is None else _Ingest(index, units, folder / _TAKEN, SkippedRecords(max_bad))
        if taking is not None:
            taking.ready()
        if not units.run(executor, "pictures", progress, taking.ready if taking else lambda *_: None):
            return False
        if taking is None:
            taking = _Ingest(stack.enter_context(opening()), units, folder / _TAKEN, SkippedRecords(max_bad))
            taking.ready()
        tell_left_out(taking.fields)
        tell_bad(taking.index.folder, taking.left_out)
        shutil.rmtree(folder, ignore_errors=True)
        sources, counts = ", ".join(map(str, work.sources)), taking.counts
        taking.left_out.check_share(sources, counts.offered, counts.bad)
        filled(taking.index, counts)
    return True


def _settings(work: IndexWork, size: int) -> str:
    sources = [_known_source(path) for path in work.sources]
    told = {"model": model_of(work.model), "sources": sources, "columns": work.columns, "key": work.key}
    keep, root = None if work.keep is None else list(work.keep), str(work.root)
    told |= {"keep": keep, "as_text": list(work.as_text), "unit_rows": size, "root": root}
    return settings_mark(told)


def _known_source(path: Path) -> dict[str, Any]:
    if not path.exists():  # a pattern of shards; or nothing, which whoever opens it says
        return {"shards": str(path)}
    return known_path(path) | ({} if path.is_dir() else {"bytes": stored_size(path)})


def _planned(folder: Path, work: IndexWork, size: int, place: Path, index: Index | None) -> list[IndexUnit]:
    def make(draft: Path) -> dict[str, Any]:
        if index is not None:
            return _plan(work, size, index.about.fields, index.journal, draft)
        if not is_index(place):
            return _plan(work, size, {}, None, draft)
        with closing(Journal(place, readonly=True)) as journal:
            return _plan(work, size, CollectionManifest.read(place).fields, journal, draft)

    told = find_plan(folder, _settings(work, size), make, f"remove {folder}")
    return [IndexUnit(*one) for one in told["units"]]


def _plan(
    work: IndexWork, size: int, fields: Mapping[str, Kind], journal: Journal | None, draft: Path
) -> dict[str, Any]:
    units, supplies = list[IndexUnit](), [work.supply(source) for source in range(len(work.sources))]
    require_same(fields, (supply.columns() for supply in supplies))
    for source, supply in enumerate(supplies):
        tell_numbers(supply)
        if supply.report:
            SkippedRecords().folder(supply.report)
        cut = supply.cut(size)
        told = {"names": cut.names, "twice": dict(cut.twice), "numbers": list(cut.numbers)}
        write_text(cut_file(draft, source), json.dumps(told))
        ends: list[int | None] = [*cut.starts[1:], None]
        own = [IndexUnit(source, *both) for both in zip(cut.starts, ends[: len(cut.starts)], strict=True)]
        if journal is not None and any(journal.counts().values()):
            reader = work.supply(source, cut)
            for number, unit in enumerate(own, start=len(units)):
                # So that nobody reads them.
                offers = reader.part(unit.first, unit.last)
                if known := {one.key: one.stamp for one in offers if _is_known(one, journal)}:
                    write_text(known_file(draft, number), json.dumps(known))
        units += own
    if not units:
        raise UserError(f"{', '.join(map(str, work.sources))}: there are no pictures; check the path")
    return {"units": units}


def _is_known(one: IngestItem, journal: Journal) -> bool:
    item = journal.item(one.key)
    return item is not None and bool(one.stamp) and item.stamp == one.stamp


@dataclass
class _Ingest:
    """Takes units into a collection, in order; `path` notes how far."""

    index: Index
    units: ShardedMap[EncodingMark]
    path: Path
    left_out: SkippedRecords
    next: int = 0
    counts: IngestCounts = field(default_factory=IngestCounts)
    fields: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = read_json_or_nothing(self.path)
        if told:
            self.next, self.fields = told["next"], told["fields"]
            self.counts = IngestCounts(**told["counts"])
            for place, reason in told["bad"].items():
                self.left_out.add(place, reason)

    def ready(self, number: int = 0, mark: EncodingMark | None = None) -> None:
        while self.next < self.units.count and self.units.is_done(self.next):
            path = self.units.file(self.next, PART)
            read, left_out = read_part(path)
            # What somebody has taken out meanwhile comes with the next run.
            offers = [one for one in read if one.picture is not None or _is_known(one, self.index.journal)]
            before = self.counts.clash
            self.index.add_encoded(offers, self.left_out, self.counts)
            if before is None and self.counts.clash is not None:
                tell_clash(*self.counts.clash)
            for name, rows in left_out.items():
                self.fields[name] = self.fields.get(name, 0) + rows
            self.next += 1
            told = {"next": self.next, "counts": asdict(self.counts), "fields": self.fields}
            with writing(self.path, AGAIN):
                write_text(self.path, json.dumps({**told, "bad": self.left_out.rows}))
            path.unlink(missing_ok=True)
