"""A collection of pictures: taken in one by one or by the thousand, counted, and removed."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from xfm.core.errors import UserError, excerpt
from xfm.data.skipped import SkippedRecords
from xfm.inference.engine import Engine, as_captions
from xfm.inference.input_parsing import PictureReader
from xfm.search.filters import Condition, merged
from xfm.search.journal import CollectionManifest, Journal, JournalItem, State
from xfm.search.sources import EncodedPicture, IngestItem
from xfm.search.store import IndexedPicture, Row, Store, digest, from_png, to_png

TOGETHER = 256
"""Pictures whose vectors are computed, and whose rows are stored, together."""
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
        self, folder: Path, about: CollectionManifest, engine: Engine, store: Store, journal: Journal
    ) -> None:
        self.folder, self.about, self.engine = folder, about, engine
        self.store, self.journal = store, journal
        self._reader = PictureReader(engine.pretrained.preprocessing, None, recent=0)
        self._vectors: dict[bytes, NDArray[np.float32]] = {}
        self._given: dict[bytes, NDArray[np.float32]] = {}
        # What was waiting when a process was killed may be in the store already.
        self._replacing = set(journal.waiting_keys())

    # ------------------------------------------------------------ taking in
    def add(
        self,
        offers: Iterable[IngestItem],
        left_out: SkippedRecords | None = None,
        taken: IngestCounts | None = None,
    ) -> IngestCounts:
        """Take pictures in. Each is safe when the next is asked for; its vector is computed with others'.

        Known keys and stamps are not read again; `taken` is counted on. UserError: an unreadable picture
        without `left_out`, or a field of another type than before.
        """
        taken = taken or IngestCounts()
        for one in offers:
            self._offer(one, taken, left_out)
            self.flush(TOGETHER)
        return taken

    def add_encoded(
        self, offers: Sequence[IngestItem], left_out: SkippedRecords, taken: IngestCounts
    ) -> None:
        """Take in pictures that others have encoded, and store all; see `add`."""
        # Some may wait already, where a process was killed that took them in.
        pictures = [one.picture for one in offers if isinstance(one.picture, EncodedPicture)]
        self._given = {digest(one.pixels): one.vector for one in pictures}
        self.add(offers, left_out, taken)
        self.flush()
        self._given = {}

    def _offer(self, given: IngestItem, taken: IngestCounts, left_out: SkippedRecords | None) -> None:
        known = self.journal.item(given.key)
        if known is not None and given.stamp and known.stamp == given.stamp:
            if known.state is State.BAD:
                self._pass_over(given, known.told or "", taken, left_out)
            elif known.state is State.DUPLICATE:
                taken.duplicates += 1
            else:
                taken.known += 1
            return
        other = _other_table(given, known)
        if other and not given.replaces:
            taken.clashing += 1
            taken.clash = taken.clash or (given.key, other)
            return
        try:
            if isinstance(given.picture, UserError):
                raise given.picture
            if len(given.key.encode()) > LONGEST_KEY:
                told = f"the name {excerpt(given.key)} has {len(given.key.encode()):,} bytes"
                raise UserError(
                    f"{told}, and {LONGEST_KEY:,} are the most; shorten it, or take another --key"
                )
            picture = given.picture
            if not isinstance(picture, EncodedPicture):
                picture = self._reader.read(picture)
        except UserError as error:
            self._pass_over(given, str(error), taken, left_out)
            if other:
                return
            self._gone([given.key] if known else [])
            self.journal.pass_over(given.key, given.stamp, State.BAD, str(error))
            return
        self._know(given)
        taken.displaced += bool(other)
        holder = self.journal.holder(picture.key)
        if holder not in (None, given.key):
            taken.duplicates += 1
            self._gone([given.key] if known else [])
            self.journal.pass_over(given.key, given.stamp, State.DUPLICATE, holder)
            return
        pixels = picture.pixels if isinstance(picture, EncodedPicture) else to_png(picture.pixels)
        entry = IndexedPicture(given.key, given.source, picture.width, picture.height, pixels, given.metadata)
        self.journal.take(entry, given.stamp, picture.key, given.table)
        if known is not None and known.state in (State.STORED, State.WAITING):
            self._replacing.add(given.key)
            taken.replaced += not other
        else:
            taken.new += 1

    def _pass_over(
        self, given: IngestItem, reason: str, taken: IngestCounts, left_out: SkippedRecords | None
    ) -> None:
        if left_out is None:
            raise UserError(reason if given.source in reason else f"{given.source}: {reason}")
        taken.bad += 1
        left_out.add(given.source, reason)

    def _know(self, given: IngestItem) -> None:
        try:
            fields = merged(self.about.fields, given.metadata)
        except UserError as error:
            raise UserError(f"{given.source}: {error}") from error
        if fields != self.about.fields:
            self.about = replace(self.about, fields=fields)
            self.about.write(self.folder)
            self.store.require(fields)

    def flush(self, least: int = 1) -> None:
        """Store the waiting pictures, as long as there are `least`."""
        while self.journal.waits() >= least:
            pictures = self.journal.waiting(TOGETHER)
            keys = [one.key for one in pictures]
            rows = [Row(one, vector) for one, vector in zip(pictures, self.vectors(pictures), strict=True)]
            self.store.add(rows, replacing=not self._replacing.isdisjoint(keys))
            self.journal.stored(keys)
            self._replacing.difference_update(keys)
            if self.store.is_scattered():
                self.store.compact()

    def vectors(self, entries: Sequence[IndexedPicture]) -> NDArray[np.float32]:
        """Vectors [N, E] of pictures; the last some hundred are remembered."""
        engine, marks = self.engine, [digest(one.pixels) for one in entries]
        there = self._vectors if not self._given else {**self._vectors, **self._given}
        known = {mark: there[mark] for mark in marks if mark in there}
        missing = [place for place, mark in enumerate(marks) if mark not in known]
        for start in range(0, len(missing), engine.batch_size):
            part = missing[start : start + engine.batch_size]
            shape = engine.pretrained.preprocessing.shape
            found = engine.image_vectors([from_png(entries[place].pixels, shape) for place in part])
            for place, vector in zip(part, found, strict=True):
                known[marks[place]] = vector
        remembered = {**self._vectors, **known}
        self._vectors = {mark: remembered[mark] for mark in [*remembered][-4 * TOGETHER :]}
        return np.stack([known[mark] for mark in marks])

    # ------------------------------------------------------------ taking out
    def remove(self, keys: Iterable[str] = (), where: Sequence[Condition] = ()) -> int:
        """Remove pictures by key or condition; how many there were."""
        if where:
            self.flush()
            keys = [*keys, *self.store.keys(where)]
        return self._gone(list(dict.fromkeys(keys)))

    def _gone(self, keys: Sequence[str]) -> int:
        self.store.remove(keys)
        known = self.journal.forget(keys)
        self._replacing.difference_update(keys)
        return known

    # ------------------------------------------------------------ keeping
    def compact(self) -> None:
        """Make searches as fast, and the folder as small, as if all pictures had come at once.

        Rows and journal are compared: a process killed while removing may have left one without the other.
        """
        self.flush()
        rows = set(self.store.keys())
        lost = [key for key in self.journal.offered() if key not in rows and self._is_stored(key)]
        strangers = [key for key in rows if not self._is_stored(key)]
        self.journal.forget(lost)
        self.store.remove(strangers)
        self.store.compact()
        self.journal.fold()

    def _is_stored(self, key: str) -> bool:
        item = self.journal.item(key)
        return item is not None and item.state is State.STORED

    def __len__(self) -> int:
        counts = self.journal.counts()
        return counts[State.STORED] + counts[State.WAITING]


def _other_table(given: IngestItem, known: JournalItem | None) -> str:
    if known is None or known.state not in (State.STORED, State.WAITING) or known.told in (None, given.table):
        return ""
    return known.told


def probe_of(engine: Engine) -> NDArray[np.float32]:
    """Vector [E] of a fixed text, by which a model is identified."""
    tokens = as_captions(engine, [PROBE]).to(engine.device)
    with torch.inference_mode():
        return engine.model.embed_text(tokens.ids, tokens.mask)[0].float().cpu().numpy()
