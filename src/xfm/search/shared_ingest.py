"""Collections filled by many: whoever does the units encodes pictures, and one process takes them in.

Units leave their files in a hidden folder beside the collection, which all processes share. A file goes when
its pictures are in the collection, so that few lie there where units and taking in go on together.
"""

import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack, closing
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from xfm.core.errors import UserError
from xfm.core.files import read_json_or_nothing, write_text, writing
from xfm.data.left_out import LeftOut
from xfm.data.tables.records import stored_size
from xfm.executors.executor import Executor
from xfm.executors.sharded_map import AGAIN, ShardedMap, find_plan
from xfm.inference.distributed.row_work import model_of, settings_mark
from xfm.inference.predict.reading import known_path
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
from xfm.search.index import Index, Taken
from xfm.search.ingest import is_index, tell_bad, tell_clash, tell_left_out, tell_numbers
from xfm.search.journal import Journal
from xfm.search.manifest import AboutIndex
from xfm.search.sources import Offer

UNIT_PICTURES = 256
"""Pictures of a unit where nobody said how many."""
_TAKEN = "taken.json"

Filled = Callable[[Index, Taken], None]
"""Is told of a collection that is filled, and open for writing, what was taken in."""


def fill_together(
    place: Path,
    work: IndexWork,
    opening: Callable[[], AbstractContextManager[Index]],
    executor: Executor,
    filled: Filled,
    *,
    unit_rows: int = 0,
    max_bad: int | None = None,
    progress: bool = False,
) -> bool:
    """Take in what sources hold. Stopped, it goes on when it is called again.

    Args:
        place: folder of the collection.
        work: the sources, and the model.
        opening: opens the collection for writing.
        executor: who encodes. Of a task of an array, the share is done, and whoever comes when all is done
            takes it in.
        filled: is called at the end.
        unit_rows: pictures of a unit; 0 takes `UNIT_PICTURES`.
        max_bad: pictures that may be left out because they cannot be read, see `LeftOut`.
        progress: show a bar.

    Returns:
        Whether all is done: not, where other tasks of an array have not done their share.

    Raises:
        UserError: too many pictures cannot be read, or something cannot be read or written.
    """
    folder, size = place.with_name(f".{place.name}.working"), unit_rows or UNIT_PICTURES
    with ExitStack() as stack:
        index = None if executor.is_array_task else stack.enter_context(opening())
        parts = _planned(folder, work, size, place, index)
        units = index_units(work, folder, parts)
        taking = None if index is None else _Taking(index, units, folder / _TAKEN, LeftOut(max_bad))
        ready = _nothing if taking is None else taking.ready
        ready()
        if not units.run(executor, "pictures", progress, ready):
            return False
        if taking is None:
            taking = _Taking(stack.enter_context(opening()), units, folder / _TAKEN, LeftOut(max_bad))
            taking.ready()
        tell_left_out(taking.fields)
        tell_bad(taking.index.folder, taking.left_out)
        shutil.rmtree(folder, ignore_errors=True)
        sources, counts = ", ".join(map(str, work.sources)), taking.counts
        taking.left_out.check_share(sources, counts.offered, counts.bad)
        filled(taking.index, counts)
    return True


def _nothing(number: int = 0, mark: EncodingMark | None = None) -> None:
    pass


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
    """The units as they are planned.

    Raises:
        UserError: other ones are under way there, a source cannot be read, or a column of numbers is one of
            texts elsewhere.
    """

    def make(draft: Path) -> dict[str, Any]:
        if index is not None:
            return _plan(work, size, index.about.fields, index.journal, draft)
        if not is_index(place):
            return _plan(work, size, {}, None, draft)
        with closing(Journal(place, readonly=True)) as journal:
            return _plan(work, size, AboutIndex.read(place).fields, journal, draft)

    told = find_plan(folder, _settings(work, size), make, f"remove {folder}")
    return [IndexUnit(*one) for one in told["units"]]


def _plan(
    work: IndexWork, size: int, fields: Mapping[str, Kind], journal: Journal | None, draft: Path
) -> dict[str, Any]:
    units, supplies = list[IndexUnit](), [work.supply(source) for source in range(len(work.sources))]
    require_same(fields, (supply.columns() for supply in supplies))
    for source, supply in enumerate(supplies):
        tell_numbers(supply)
        if supply.report is not None:
            LeftOut().folder(supply.report)
        cut = supply.cut(size)
        told = {"names": cut.names, "twice": dict(cut.twice), "numbers": list(cut.numbers)}
        write_text(cut_file(draft, source), json.dumps(told))
        ends: list[int | None] = [*cut.starts[1:], None]
        own = [IndexUnit(source, *both) for both in zip(cut.starts, ends[: len(cut.starts)], strict=True)]
        if journal is not None and any(journal.counts().values()):
            reader = work.supply(source, cut)
            for number, unit in enumerate(own, start=len(units)):
                _note_known(known_file(draft, number), reader.part(unit.first, unit.last), journal)
        units += own
    if not units:
        raise UserError(f"{', '.join(map(str, work.sources))}: there are no pictures; check the path")
    return {"units": units}


def _note_known(path: Path, offers: Any, journal: Journal) -> None:
    """Write down which pictures of a unit are known as they are, so that nobody reads them."""
    known = {one.key: one.stamp for one in offers if _is_known(one, journal)}
    if known:
        write_text(path, json.dumps(known))


def _is_known(one: Offer, journal: Journal) -> bool:
    item = journal.item(one.key)
    return item is not None and bool(one.stamp) and item.stamp == one.stamp


@dataclass
class _Taking:
    """Takes the files of units into a collection, in their order; `path` says how far that is."""

    index: Index
    units: ShardedMap[EncodingMark]
    path: Path
    left_out: LeftOut
    next: int = 0
    counts: Taken = field(default_factory=Taken)
    fields: dict[str, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        told = read_json_or_nothing(self.path)
        if told:
            self.next, self.fields = told["next"], told["fields"]
            self.counts = Taken(**told["counts"])
            for place, reason in told["bad"].items():
                self.left_out.add(place, reason)

    def ready(self, number: int = 0, mark: EncodingMark | None = None) -> None:
        while self.next < self.units.count and self.units.is_done(self.next):
            path = self.units.file(self.next, PART)
            read, left_out = read_part(path)
            # What somebody has taken out meanwhile comes with the next run.
            offers = [one for one in read if one.picture is not None or self._knows(one)]
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

    def _knows(self, one: Offer) -> bool:
        return _is_known(one, self.index.journal)
