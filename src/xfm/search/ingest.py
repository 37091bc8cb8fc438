"""Collections filled from sources, with a bar and counts; a folder of pictures that is its own collection."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.core.errors import UserError, amount, printable
from xfm.core.locks import InUse
from xfm.data.left_out import BAD_FILE, LeftOut
from xfm.search.filters import Kind, require_same
from xfm.search.index import Index, Taken
from xfm.search.manifest import FILE as ABOUT
from xfm.search.manifest import HIDDEN
from xfm.search.opening import open_index
from xfm.search.sources import FolderSupply, Offer, PictureSupply


def fill(index: Index, sources: Sequence[PictureSupply], left_out: LeftOut, progress: bool = True) -> Taken:
    """Take in what sources hold. Stopped, it goes on when it is called again.

    Args:
        index: the collection, open for writing.
        sources: one after the other.
        left_out: counts pictures that cannot be read.
        progress: show a bar.

    Raises:
        UserError: too many pictures cannot be read, a source cannot be read on, or a column of numbers is one
            of texts elsewhere; then nothing was taken in.
    """
    whole = Taken()
    require_same(index.about.fields, (source.columns() for source in sources))
    for source in sources:
        tell_numbers(source)
        if source.report is not None:
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
    """Say that another table has named a picture so, and what can be done."""
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


def tell_bad(folder: Path, left_out: LeftOut) -> None:
    """Name a picture that cannot be read, and write all of them into the collection's folder."""
    left_out.write(folder)
    if left_out.rows:
        place, reason = next(iter(left_out.rows.items()))
        count = amount(len(left_out.rows), "picture")
        told = f"Note: {count} cannot be read: {place} ({reason}); all in {folder / BAD_FILE}"
        print(printable(told), file=sys.stderr)


def _watched(candidates: Iterator[Offer], bar: Any) -> Iterator[Offer]:
    for one in candidates:
        yield one
        bar.update(one.read - bar.n)


def said(taken: Taken) -> str:
    """What became of the pictures, in a sentence."""
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
    return (folder / ABOUT).exists()


@contextmanager
def folder_index(
    folder: Path, model: Any, left_out: LeftOut, progress: bool = True, **running: Any
) -> Iterator[Index]:
    """The collection of a folder of pictures, which is made in it at first, and then follows the folder.

    Where another process is at it, it is open for reading, with what is there.

    Args:
        folder: of the pictures.
        model, running: see `open_index`.
        left_out: counts pictures that cannot be read.
        progress: show a bar.

    Raises:
        UserError: the folder holds no pictures, or cannot be written.
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
        except InUse as error:
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
