"""A collection of pictures: taken in one by one or by the thousand, kept, counted, and taken out."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from xfm.core.errors import UserError, excerpt
from xfm.data.left_out import LeftOut
from xfm.inference.engine import Engine, as_captions
from xfm.inference.picture_inputs import PictureReader
from xfm.models.artifacts import model_pixels
from xfm.search.filters import Condition, merged
from xfm.search.journal import Journal, JournalItem, State
from xfm.search.manifest import AboutIndex
from xfm.search.sources import EncodedPicture, Offer
from xfm.search.store import IndexedPicture, Row, Store, StoreStats, digest, from_png, to_png

TOGETHER = 256
"""Pictures whose vectors are computed, and whose rows are stored, together."""
LONGEST_KEY = 2000
"""Bytes of a picture's name; an index of PostgreSQL holds some more."""
PROBE = "a picture"


@dataclass
class Taken:
    """What became of the pictures that were offered.

    Attributes:
        new, replaced: pictures that were taken in, and those whose earlier form went.
        known: pictures that are there as they are.
        duplicates: pictures that look exactly like another one.
        bad: pictures that cannot be read.
        displaced: pictures that took the place of one that another table has named so.
        clashing: pictures that are left out because another table has named one so.
        clash: such a name, and the table.
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
        """How many pictures there were."""
        return sum(count for count in vars(self).values() if isinstance(count, int))


@dataclass(frozen=True)
class IndexStats:
    """How large a collection is.

    Attributes:
        counts: pictures by what became of them.
        store: of the rows.
        lost: pictures that were stored, and have no row any more.
    """

    counts: Mapping[State, int]
    store: StoreStats
    lost: int


class Index:
    """A collection that is open; `xfm.search.opening.open_index` makes one and opens it.

    Attributes:
        folder: of the collection.
        about: what it is.
        store: the rows.
        journal: what was taken in.
    """

    def __init__(
        self, folder: Path, about: AboutIndex, engine: Engine, store: Store, journal: Journal
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
        self, offers: Iterable[Offer], left_out: LeftOut | None = None, taken: Taken | None = None
    ) -> Taken:
        """Take pictures in. Each is safe when the next one is asked for; its vector comes with others'.

        Args:
            offers: the pictures; one whose key and stamp are known is not read again.
            left_out: told of pictures that cannot be read; without it the first one ends the work.
            taken: what became of pictures before, to be counted on.

        Raises:
            UserError: a picture cannot be read and may not be left out, or a field of its metadata holds
                something else in other pictures.
        """
        taken = taken or Taken()
        for one in offers:
            self._offer(one, taken, left_out)
            self.flush(TOGETHER)
        return taken

    def add_encoded(self, offers: Sequence[Offer], left_out: LeftOut, taken: Taken) -> None:
        """Take in pictures of which others have computed the vectors, and put all of them into the store.

        Args:
            offers: the pictures; some may be known, or cannot be read.
            left_out, taken: see `add`, which also says what is raised.
        """
        # Some may wait already, where a process was killed that took them in.
        pictures = [one.picture for one in offers if isinstance(one.picture, EncodedPicture)]
        self._given = {digest(one.pixels): one.vector for one in pictures}
        self.add(offers, left_out, taken)
        self.flush()
        self._given = {}

    def _offer(self, given: Offer, taken: Taken, left_out: LeftOut | None) -> None:
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

    def _pass_over(self, given: Offer, reason: str, taken: Taken, left_out: LeftOut | None) -> None:
        if left_out is None:
            raise UserError(reason if given.source in reason else f"{given.source}: {reason}")
        taken.bad += 1
        left_out.add(given.source, reason)

    def _know(self, given: Offer) -> None:
        try:
            fields = merged(self.about.fields, given.metadata)
        except UserError as error:
            raise UserError(f"{given.source}: {error}") from error
        if fields != self.about.fields:
            self.about = replace(self.about, fields=fields)
            self.about.write(self.folder)
            self.store.require(fields)

    def flush(self, least: int = 1) -> None:
        """Put what is waiting into the store, as long as so many are."""
        while self.journal.waits() >= least:
            pictures = self.journal.waiting(TOGETHER)
            keys = [one.key for one in pictures]
            rows = [Row(one, vector) for one, vector in zip(pictures, self.vectors(pictures), strict=True)]
            self.store.add(rows, replacing=not self._replacing.isdisjoint(keys))
            self.journal.stored(keys)
            self._replacing.difference_update(keys)
            if self.store.is_scattered():
                self.store.compact()

    @torch.inference_mode()
    def vectors(self, entries: Sequence[IndexedPicture]) -> NDArray[np.float32]:
        """[N, E] vectors of pictures; some hundred that were computed last are remembered."""
        engine, marks = self.engine, [digest(one.pixels) for one in entries]
        there = self._vectors if not self._given else {**self._vectors, **self._given}
        known = {mark: there[mark] for mark in marks if mark in there}
        missing = [place for place, mark in enumerate(marks) if mark not in known]
        for start in range(0, len(missing), engine.batch_size):
            part = missing[start : start + engine.batch_size]
            look = engine.pretrained.preprocessing
            pixels = torch.stack([from_png(entries[place].pixels, look.shape) for place in part])
            with engine.arithmetic():
                found = engine.model.embed_image(model_pixels(pixels.to(engine.device), look))
            for place, vector in zip(part, found.float().cpu().numpy(), strict=True):
                known[marks[place]] = vector
        remembered = {**self._vectors, **known}
        self._vectors = {mark: remembered[mark] for mark in [*remembered][-4 * TOGETHER :]}
        return np.stack([known[mark] for mark in marks])

    # ------------------------------------------------------------ taking out
    def remove(self, keys: Iterable[str] = (), where: Sequence[Condition] = ()) -> int:
        """Take pictures out, by key or by condition; how many there were."""
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

        Rows and journal are compared, too: a process that was killed while it took pictures out may have left
        one without the other.
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

    def stats(self) -> IndexStats:
        """How large the collection is, by the rows that are there."""
        counts, store = dict(self.journal.counts()), self.store.stats()
        lost = max(0, counts[State.STORED] - store.rows)
        counts[State.STORED] -= lost
        return IndexStats(counts, store, lost)

    def __len__(self) -> int:
        counts = self.journal.counts()
        return counts[State.STORED] + counts[State.WAITING]

    def look_again(self) -> None:
        """Read which fields pictures have, where another process may have added some meanwhile."""
        self.about = replace(self.about, fields=AboutIndex.read(self.folder).fields)


def _other_table(given: Offer, known: JournalItem | None) -> str:
    """The table that has named another picture as this one's does; empty where there is none."""
    if known is None or known.state not in (State.STORED, State.WAITING) or known.told in (None, given.table):
        return ""
    return known.told


def probe_of(engine: Engine) -> NDArray[np.float32]:
    """[E] the vector of a fixed text, by which a model is known again."""
    tokens = as_captions(engine, [PROBE]).to(engine.device)
    with torch.inference_mode():
        return engine.model.embed_text(tokens.ids, tokens.mask)[0].float().cpu().numpy()
