"""A collection of pictures: taken in one by one or by the thousand, counted, and removed."""

import json
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from xfm.core.errors import UserError, excerpt, naming, printable
from xfm.core.sandbox import parsed
from xfm.data.images import to_png
from xfm.data.skipped import SkippedRecords
from xfm.inference.engine import Engine, as_captions
from xfm.inference.input_parsing import ImageReader, InputImage
from xfm.search.filters import Condition, Day, checked, merged, parse_condition
from xfm.search.journal import CollectionManifest, Journal, JournalItem, State
from xfm.search.sources import CAMERA, TAKEN, EncodedImage, IngestItem
from xfm.search.store import IndexedImage, Row

if TYPE_CHECKING:
    from xfm.search.lance import LanceStore
    from xfm.search.postgres import PostgresStore

TOGETHER, _REMOVED = 256, 10_000
"""Pictures whose vectors are computed, and whose rows are stored, together; and that are removed together."""
LONGEST_KEY = 2000
"""Bytes of a picture's name; an index of PostgreSQL holds some more."""
PROBE = "a picture"


@dataclass
class IngestCounts:
    """Counts of offered pictures by what became of them.

    `displaced` took the place of one that another table named so; `clashing` were left out for that reason,
    and `clash` is the first such name, and the table.
    """

    new: int = 0
    replaced: int = 0
    known: int = 0
    duplicates: int = 0
    bad: int = 0
    displaced: int = 0
    clashing: int = 0
    clash: tuple[str, str] | None = field(default=None, compare=False)

    @property
    def offered(self) -> int:
        """All of them."""
        return sum(count for count in vars(self).values() if isinstance(count, int))


class Index:
    """An open collection; `xfm.search.opening.open_index` makes and opens it."""

    def __init__(
        self,
        folder: Path,
        about: CollectionManifest,
        engine: Engine,
        store: "LanceStore | PostgresStore",
        journal: Journal,
    ) -> None:
        self.folder, self.about, self.engine = folder, about, engine
        self.store, self.journal = store, journal
        self._reader = ImageReader(engine.pretrained.preprocessing, None, recent=0)
        # Of pictures that are not stored yet: items of the journal, and rows with what vectors are made of.
        self._items = dict[str, JournalItem]()
        self._taken = list[tuple[IndexedImage, InputImage | EncodedImage]]()
        self._replacing, self._unsure = False, None

    # ------------------------------------------------------------ taking in
    def add(
        self,
        offers: Iterable[IngestItem],
        left_out: SkippedRecords | None = None,
        taken: IngestCounts | None = None,
    ) -> IngestCounts:
        """Take pictures in, `TOGETHER` at a time; all are stored at the end.

        Known keys and stamps are not read again; `taken` is counted on. UserError: an unreadable picture
        without `left_out`, or a field of another type than before.
        """
        taken, self._items, self._taken, self._replacing = taken or IngestCounts(), {}, [], False
        if self._unsure is None:
            self._unsure = self.store.count() != len(self)
        for one in offers:
            if one.key in self._items or len(self._items) >= TOGETHER:
                self._store()
            self._offer(one, taken, left_out)
        self._store()
        return taken

    def knows(self, given: IngestItem) -> bool:
        """Whether a picture was offered before, and has not changed since."""
        known = self.journal.item(given.key)
        return known is not None and known.is_of(given.stamp)

    def _offer(self, given: IngestItem, taken: IngestCounts, left_out: SkippedRecords | None) -> None:
        known = self.journal.item(given.key)
        if known is not None and known.is_of(given.stamp):
            if known.state is State.BAD:
                _pass_over(given, known.told or "", taken, left_out)
            elif known.state is State.DUPLICATE:
                taken.duplicates += 1
            else:
                taken.known += 1
            return
        # The table that names this picture, if it is another one.
        other = (known.told or "") if known is not None and known.state is State.STORED else ""
        other = "" if other == given.table else other
        if other and not given.replaces:
            taken.clashing += 1
            taken.clash = taken.clash or (given.key, other)
            return
        try:
            picture = self._read(given)
        except UserError as error:
            _pass_over(given, str(error), taken, left_out)
            if not other:
                self._instead(known, given.key, JournalItem(State.BAD, given.stamp, str(error)))
            return
        given = with_exif(given)
        self._know(given)
        taken.displaced += bool(other)
        if (holder := self._holder(picture.key)) not in (None, given.key):
            taken.duplicates += 1
            self._instead(known, given.key, JournalItem(State.DUPLICATE, given.stamp, holder))
            return
        pixels = picture.pixels if isinstance(picture, EncodedImage) else to_png(picture.pixels)
        entry = IndexedImage(given.key, given.source, picture.width, picture.height, pixels, given.metadata)
        self._taken.append((entry, picture))
        self._items[given.key] = JournalItem(State.STORED, given.stamp, given.table or None, picture.key)
        if known is not None and known.state is State.STORED:
            self._replacing = True
            taken.replaced += not other
        else:
            taken.new += 1

    def _instead(self, known: JournalItem | None, key: str, item: JournalItem) -> None:
        """Note a picture that is not taken; one that was there goes, what looked like it may come again."""
        if known is not None:
            self._store()
            self.remove([key])
        self._items[key] = item

    def _read(self, given: IngestItem) -> InputImage | EncodedImage:
        if isinstance(given.picture, UserError):
            raise given.picture
        if (size := len(given.key.encode())) > LONGEST_KEY:
            told = f"the name {excerpt(given.key)} has {size:,} bytes, and {LONGEST_KEY:,} are the most"
            raise UserError(f"{told}; shorten it, or take another --key")
        return given.picture if isinstance(given.picture, EncodedImage) else self._reader.read(given.picture)

    def _holder(self, pixels: bytes) -> str | None:
        """The key of a picture with these pixels, stored or about to be."""
        own = (key for key, one in self._items.items() if one.digest == pixels)
        holder = self.journal.holder(pixels)
        return next(own, None if holder in self._items else holder)

    def _know(self, given: IngestItem) -> None:
        with naming(given.source):
            fields = merged(self.about.fields, given.metadata)
        if fields != self.about.fields:
            self.about = replace(self.about, fields=fields)
            self.about.write(self.folder)
            self.store.require(fields)

    def _store(self) -> None:
        """Store rows, then note them: after a kill in between they come again, and replace themselves."""
        unsure, self._unsure = self._unsure, True
        if self._taken:
            vectors = self._vectors([picture for _, picture in self._taken])
            rows = [Row(entry, vector) for (entry, _), vector in zip(self._taken, vectors, strict=True)]
            self.store.add(rows, bool(unsure or self._replacing))
        self.journal.note(self._items)
        self._unsure, any_new = unsure, bool(self._taken)
        self._items, self._taken, self._replacing = {}, [], False
        if any_new and self.store.is_scattered():
            self.store.compact()

    def _vectors(self, pictures: Sequence[InputImage | EncodedImage]) -> list[NDArray[np.float32]]:
        pixels = [one.pixels for one in pictures if isinstance(one, InputImage)]
        size, found = self.engine.batch_size, list[NDArray[np.float32]]()
        for start in range(0, len(pixels), size):
            found += [*self.engine.image_vectors(pixels[start : start + size])]
        own = iter(found)
        return [next(own) if isinstance(one, InputImage) else one.vector for one in pictures]

    # ------------------------------------------------------------ taking out
    def remove(self, keys: Iterable[str] = (), where: Sequence[Condition] = ()) -> int:
        """Remove pictures by key or condition; how many there were."""
        gone = list(dict.fromkeys([*keys, *(self.store.keys(where) if where else ())]))
        known = 0
        for start in range(0, len(gone), _REMOVED):
            part = gone[start : start + _REMOVED]
            self.store.remove(part)  # first: a store that refuses leaves the journal as it was
            known += self.journal.forget(part)
        return known

    # ------------------------------------------------------------ keeping
    def conditions(self, where: Sequence[str]) -> tuple[Condition, ...]:
        """Conditions as typed, with values of the fields' types; UserError: see `checked`."""
        asked = [parse_condition(one) for one in where]
        if any(one.field not in self.about.fields for one in asked):
            self.about = CollectionManifest.read(self.folder)  # another process may have added some
        return checked(asked, self.about.fields)

    def compact(self) -> None:
        """Make searches as fast, and the folder as small, as if all pictures had come at once.

        Rows that the journal does not know, of a process that was killed, go, and so do items without a row.
        """
        rows = set(self.store.keys())
        items = ((key, self.journal.item(key)) for key in self.journal.offered())
        stored = {key for key, item in items if item is not None and item.state is State.STORED}
        self.journal.forget(stored - rows)
        self.store.remove([*(rows - stored)])
        self.store.compact()
        self.journal.fold()

    def __len__(self) -> int:
        return self.journal.counts()[State.STORED]


def _pass_over(given: IngestItem, reason: str, taken: IngestCounts, left_out: SkippedRecords | None) -> None:
    if left_out is None:
        raise UserError(reason if given.source in reason else f"{given.source}: {reason}")
    taken.bad += 1
    left_out.add(given.source, reason)


def with_exif(given: IngestItem) -> IngestItem:
    """The picture with what its file's EXIF says, if anything, where its metadata have an empty text."""
    told: dict[str, Any] = {name: one for name, one in given.metadata.items() if one != ""}
    if len(told) < len(given.metadata) and isinstance(given.picture, Path):
        with suppress(ValueError):  # there is none, it is damaged, or nobody has set the clock
            taken, camera = json.loads(b"".join(parsed("xfm.data.parsers:exif", str(given.picture))))
            told[CAMERA] = excerpt(printable(camera.strip("\0 ")))
            told[TAKEN] = Day(date.fromisoformat(taken[:10].replace(":", "-")))
    return replace(given, metadata={name: told[name] for name in given.metadata if told.get(name, "") != ""})


def probe_of(engine: Engine) -> NDArray[np.float32]:
    """Vector [E] of a fixed text, by which a model is identified."""
    tokens = as_captions(engine, [PROBE]).to(engine.device)
    with torch.inference_mode():
        return engine.model.embed_text(tokens.ids, tokens.mask)[0].float().cpu().numpy()
