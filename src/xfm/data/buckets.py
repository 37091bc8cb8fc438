"""Batches of texts of similar length, each of at most so many tokens, padding included. The texts of a corpus
lie in length classes; a batch holds texts of one class of one corpus, as many as fit, shared evenly between
the batches of the class. So an epoch has a fixed number of batches, which come in a shuffled order, and shows
every text once. The texts of a step are a function of (seed, step): batch -> class and ranks in it -> texts,
whose index follows from how many of the class each block of the corpus has. By `xfm.data.mixture.RunOrder`
all classes go through the blocks in one shuffled order; batches and texts are shuffled within a window."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from xfm.config.ranges import MAX_BATCH
from xfm.data.mixture import Mixture, RunOrder, shuffled
from xfm.data.rng import mix

_BLOCK, _LEAST_BLOCK = 4096, 256
"""Records of a block; so many at least, lest the table of blocks grow."""


_BATCHES = 8
"""Batches that a class has at least, if there are so many: shared evenly, each is then about full."""
_AT_ONCE = 1 << 20


@dataclass(frozen=True, eq=False)
class LengthClasses:
    """Length classes, short to long: `of` [N] uint8 of every record, `longest` the most tokens of each."""

    of: np.ndarray
    longest: Sequence[int]

    @classmethod
    def joined(cls, lengths: np.ndarray, tokens: Sequence[int], budget: int) -> "LengthClasses":
        """Neighbouring lengths ([N] uint8, index into `tokens`), joined until a class fills some batches."""
        texts = counts_in_blocks(lengths, len(tokens), _AT_ONCE).sum(1)
        found = np.zeros(len(tokens), np.uint8)
        longest, inside = list[int](), 0
        for length in np.flatnonzero(texts).tolist():
            if not longest or inside * longest[-1] >= _BATCHES * budget:
                longest.append(0)
                inside = 0
            longest[-1], inside = tokens[length], inside + int(texts[length])
            found[length] = len(longest) - 1
        if len(longest) > 1 and inside * longest[-1] < _BATCHES * budget:
            del longest[-2]
            found[found == len(longest)] = len(longest) - 1
        return cls(found[lengths], longest)


def counts_in_blocks(values: np.ndarray, kinds: int, block: int) -> np.ndarray:
    """[C, U] int64 counts of C values ([N] uint8) in each block, a part at a time: 8 bytes a value."""
    together = max(1, _AT_ONCE // block)
    found = []
    for start in range(0, len(values), together * block):
        part = values[start : start + together * block]
        blocks = -(-len(part) // block)
        places = np.arange(len(part)) // block * kinds + part
        found.append(np.bincount(places, minlength=blocks * kinds).reshape(blocks, kinds))
    return np.concatenate(found).T


@dataclass(frozen=True)
class Bucket:
    """The texts of a step: `places` in the class `length` of an epoch (`key`) of a corpus."""

    corpus: int
    key: int
    length: int
    places: range


class BucketedCorpus:
    """The batches of an epoch of a corpus; without `runs` any text may follow any other."""

    def __init__(self, classes: LengthClasses, tokens: int, runs: RunOrder | None) -> None:
        self.size, self.longest, self.runs = len(classes.of), classes.longest, runs
        self.block = _BLOCK if runs is None else max(runs.length, _LEAST_BLOCK)
        self._of = classes.of
        self.counts = counts_in_blocks(self._of, len(self.longest), self.block)
        """[C, U] texts of each class in each block."""
        self._totals: list[int] = self.counts.sum(1).tolist()
        rows = [min(tokens // longest, MAX_BATCH) for longest in self.longest]
        self._batches = [-(-total // row) for total, row in zip(self._totals, rows, strict=True)]
        self._ends = np.cumsum(self._batches)
        self.batches = int(self._ends[-1])
        """Of an epoch."""
        self.fewest = min(total // number for total, number in zip(self._totals, self._batches, strict=True))
        """Texts of its smallest batch."""
        self._share = 1.0 if runs is None else min(1.0, runs.window * self.block / self.size)
        when = np.concatenate([(np.arange(number) + 0.5) / number for number in self._batches])
        self._schedule = np.argsort(when, kind="stable").astype(np.uint32)

    def batch(self, number: int, key: int) -> tuple[int, range]:
        """The length class of a batch of the epoch `key`, and the places in it of its texts."""
        flat = int(self._schedule[self._windowed(number, self.batches, key)])
        length = int(np.searchsorted(self._ends, flat, "right"))
        count, total = self._batches[length], self._totals[length]
        turn = flat - (int(self._ends[length]) - count)
        return length, range(total * turn // count, total * (turn + 1) // count)

    def text(self, length: int, place: int, key: int) -> int:
        """The record at a place of a class."""
        place = self._windowed(place, self._totals[length], mix(key, length))
        order, before = _reading(self, 0 if self.runs is None else key)
        turn = int(np.searchsorted(before[length], place, "right")) - 1
        start = (turn if order is None else int(order[turn])) * self.block
        alike = np.flatnonzero(self._of[start : start + self.block] == length)
        return start + int(alike[place - int(before[length, turn])])

    def _windowed(self, place: int, size: int, key: int) -> int:
        width = max(1, round(size * self._share))
        number = min(place // width, size // width - 1)
        start = number * width
        stop = size if number == size // width - 1 else start + width
        return start + shuffled(place - start, stop - start, mix(key, -1, number))


@lru_cache(maxsize=4)
def _reading(corpus: BucketedCorpus, key: int) -> tuple[np.ndarray | None, np.ndarray]:
    """The order of the blocks in an epoch (None: as they lie), and [C, U + 1] how many texts come before."""
    order, counts = None, corpus.counts
    if corpus.runs is not None:
        order = np.random.Generator(np.random.Philox(key=mix(key, -2))).permutation(counts.shape[1])
        counts = counts[:, order]
    return order, np.pad(counts.cumsum(1), ((0, 0), (1, 0)))


class TokenBuckets:
    """The texts of every step in batches of at most `tokens` tokens with padding; see `Mixture`."""

    group = 1

    def __init__(
        self,
        classes: Sequence[LengthClasses],
        weights: Sequence[float],
        tokens: int,
        seed: int,
        runs: Sequence[RunOrder | None] = (),
    ) -> None:
        runs = runs or [None] * len(classes)
        self.corpora = [BucketedCorpus(one, tokens, run) for one, run in zip(classes, runs, strict=True)]
        self.sizes = tuple(corpus.size for corpus in self.corpora)
        batches = [corpus.batches for corpus in self.corpora]
        shares = [w * b / n for w, b, n in zip(weights, batches, self.sizes, strict=True)]
        self._steps = Mixture(batches, shares, seed)
        self.fewest = min(corpus.fewest for corpus in self.corpora)
        """Texts of the smallest batch."""

    def bucket(self, step: int) -> Bucket:
        """The texts of a step."""
        corpus, epoch, number = self._steps.rank(step)[:3]
        key = mix(self._steps.seed, corpus, epoch)
        return Bucket(corpus, key, *self.corpora[corpus].batch(number, key))

    def positions(self, step: int) -> range:
        """Numbers of the texts of a step that no other step's have."""
        return range(step * MAX_BATCH, step * MAX_BATCH + len(_bucket(self, step).places))

    def longest(self, step: int) -> int:
        """Tokens that a text of the step has at most."""
        found = _bucket(self, step)
        return self.corpora[found.corpus].longest[found.length]

    def locate(self, position: int) -> tuple[int, int]:
        """Corpus and record index at a position that `positions` gives."""
        step, offset = divmod(position, MAX_BATCH)
        found = _bucket(self, step)
        text = self.corpora[found.corpus].text(found.length, found.places[offset], found.key)
        return found.corpus, text

    def run(self, corpus: int, index: int) -> range | None:
        """See `Mixture.run`."""
        read = self.corpora[corpus]
        if read.runs is None:
            return None
        first = index // read.block * read.block
        return range(first, min(first + read.block, read.size))


@lru_cache(maxsize=16)
def _bucket(buckets: TokenBuckets, step: int) -> Bucket:
    return buckets.bucket(step)
