"""Collections filled from sources; a folder of pictures as its own collection."""

import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import cache, partial
from itertools import count, islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.core.errors import UserError, amount, printable
from xfm.core.locks import FolderInUseError
from xfm.data.images import to_png
from xfm.data.skipped import BAD_FILE, SkippedRecords
from xfm.executors.executor import Executor
from xfm.inference.base import Pipeline
from xfm.inference.engine import one_thread
from xfm.inference.input_parsing import ImageReader, InputImage
from xfm.inference.pipeline import pipeline
from xfm.search.filters import Kind, require_same
from xfm.search.index import TOGETHER, Index, IngestCounts, with_exif
from xfm.search.journal import HIDDEN, MANIFEST
from xfm.search.opening import SEARCHING, open_index
from xfm.search.sources import TAKEN, EncodedImage, FolderSupply, ImageSupply, IngestItem

Unit = tuple[int, dict[int, IngestItem]]
"""Its number, and those of its pictures that have to be encoded, by place."""
Encode = Callable[[Unit], dict[int, IngestItem]]
"""Encodes the pictures of a unit, in any process."""
Take = Callable[[list[IngestItem]], object]


def fill(
    index: Index,
    sources: Sequence[ImageSupply],
    left_out: SkippedRecords,
    progress: bool = True,
    executor: Executor | None = None,
    encode: Encode | None = None,
    unit_size: int = 0,
) -> IngestCounts:
    """Take in the sources' pictures; a stopped run goes on when called again.

    With an executor and `encode` others encode, `unit_size` pictures at a time. UserError: too many
    unreadable pictures, an unreadable source, or columns of other types (nothing is taken then).
    """
    whole = IngestCounts()
    require_same(index.about.fields, (source.columns() for source in sources))
    for source in sources:
        numbers = {name: one.place for name, one in source.columns().items() if one.kind is Kind.NUMBER}
        if numbers:
            told = f"{next(iter(numbers.values()))} has nothing but numbers in {', '.join(numbers)}"
            _note(f"{told}: conditions compare them as such; --as-text NAME,... keeps texts")
        left_out.folder(source.report)
        whole, offers = replace(whole, clash=None), source.candidates()
        candidates = iter(tqdm(offers, "pictures", source.total, unit=" pictures", disable=not progress))
        if executor is None or encode is None:
            index.add(candidates, left_out, whole)
        else:
            take = partial(index.add, left_out=left_out, taken=whole)
            _encoded_by(executor, encode, unit_size or TOGETHER, index, candidates, take)
        if whole.clash is not None:
            told = "{} is the id of a picture of {}, too, and such are left out".format(*whole.clash)
            _note(
                f"{told}. With --key id they take the place of the others; --key with another column, such "
                "as image, takes both"
            )
        for name, rows in source.left_out.items():
            told = f"{name} is no text, number or truth value in {amount(rows, 'row')}"
            _note(f"{told}: no condition can be about it")
    if (whole.new or whole.replaced) and any(isinstance(source, FolderSupply) for source in sources):
        known = index.about.fields.get(TAKEN) is Kind.DAY
        dated = index.store.count(index.conditions([f"{TAKEN}>=0000"])) if known else 0
        told = f"EXIF says of {dated:,} of {amount(len(index), 'picture')} when they were taken"
        _note(f"{told}; no condition on {TAKEN} passes the others")
    return whole


def tell_bad(folder: Path, left_out: SkippedRecords) -> None:
    """Name an unreadable picture, and log all of them in the collection's folder."""
    left_out.write(folder)
    if left_out.rows:
        place, reason = next(iter(left_out.rows.items()))
        count = amount(len(left_out.rows), "picture")
        _note(f"{count} cannot be read: {place} ({reason}); all in {folder / BAD_FILE}")


def _note(told: str) -> None:
    print(f"Note: {printable(told)}", file=sys.stderr)


def said(taken: IngestCounts) -> str:
    """The counts in a sentence."""
    parts = [f"{taken.new:,} new"]
    for number, what in (
        (taken.replaced, "changed and taken again"),
        (taken.displaced, "in the place of those of another table with the same name"),
        (taken.known, "known"),
        (taken.duplicates, "exactly like another one, left out"),
        (taken.clashing, "with the name of one of another table, left out"),
        (taken.bad, "that cannot be read, left out"),
    ):
        if number:
            parts.append(f"{number:,} {what}")
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
        told = source.report and f" ({source.report})"
        raise UserError(f"{folder} is no collection, and holds no pictures for one{told}; check the path")
    if not is_index(place) and not os.access(folder, os.W_OK):
        raise UserError(
            f"{folder} cannot be written, where its collection would be: make one elsewhere with `xfm index "
            f"build --images {folder} --out FOLDER`"
        )
    with ExitStack() as stack:
        try:
            index = stack.enter_context(open_index(place, model, make=True, **running))
        except FolderInUseError as error:
            _note(f"{error}. Until then what is there is searched.")
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


@cache
def _pipe(model: str, device: str) -> Pipeline:
    return pipeline("embed", model, device=device, **SEARCHING)


def encode_unit(model: str, device: str, unit: Unit) -> dict[int, IngestItem]:
    """The pictures of a unit, encoded in float32 by any process; machines see the same paths."""
    engine, found = _pipe(model, device).engine, dict[int, IngestItem]()
    reader, rest = ImageReader(engine.pretrained.preprocessing, None, recent=0), iter(unit[1].items())
    with one_thread(engine.device):
        while window := list(islice(rest, engine.batch_size)):
            read = dict[int, InputImage]()
            for place, one in window:
                try:
                    read[place] = reader.read(one.picture)
                except UserError as error:
                    found[place] = replace(one, picture=UserError(str(error)))
            vectors = engine.image_vectors([one.pixels for one in read.values()]) if read else ()
            for (place, one), vector in zip(read.items(), vectors, strict=True):
                encoded = EncodedImage(to_png(one.pixels), one.width, one.height, one.key, vector)
                found[place] = replace(with_exif(unit[1][place]), picture=encoded)
    return found


def _encoded_by(
    executor: Executor, encode: Encode, size: int, index: Index, rest: Iterator[IngestItem], take: Take
) -> None:
    """Have pictures that are not known encoded in units, and take the units in, in order."""
    under_way, ready, oldest = dict[int, list[IngestItem]](), set[int](), 0

    def units() -> Iterator[Unit]:
        for number in count():
            under_way[number] = unit = list(islice(rest, size))
            if not unit:
                return
            places = (n for n, one in enumerate(unit) if not isinstance(one.picture, UserError))
            yield number, {n: unit[n] for n in places if not index.knows(unit[n])}

    def done(unit: Unit, encoded: Mapping[int, IngestItem]) -> None:
        nonlocal oldest
        own = under_way[unit[0]]
        under_way[unit[0]] = [encoded.get(place, one) for place, one in enumerate(own)]
        ready.add(unit[0])
        while oldest in ready:
            take(under_way.pop(oldest))
            oldest += 1

    executor.run(encode, units(), done)
