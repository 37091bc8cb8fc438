"""A stream of samples: its corpora in a deterministic order, with bad records replaced."""

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeVar

import numpy as np

from xfm.config.data import Augmentation
from xfm.data.collate import identity
from xfm.data.image_cache import ImageCache
from xfm.data.mixture import Mixture
from xfm.data.records import BadRecordError, Sample, SampleKind, to_sample
from xfm.data.rng import sample_generator
from xfm.data.schema import BadRecord, ImageSample, StreamReads
from xfm.data.sources.base import RecordSource

S = TypeVar("S", bound=Sample, covariant=True)


@dataclass
class RecordTally:
    """Records met while a batch was assembled: bad ones, images without regions, reads in all, by stream."""

    skipped: list[BadRecord] = field(default_factory=list)
    regionless: int = 0
    read: int = 0
    reads: list[StreamReads] = field(default_factory=list)


DrawnSample = tuple[S, np.random.Generator, int]
"""A sample, the generator of all its draws, the identity of its encoded image (0: none)."""


@dataclass(frozen=True)
class CorpusStream:
    """One kind of data. `batch_size` counts all ranks; after `attempts` bad records in a row no replacement
    is looked for; with `needs_regions` an image without regions is passed over; `begun` holds runs begun,
    `checked` samples whose pixels are those of the cache, by corpus and number: no file is read for them."""

    kind: SampleKind
    batch_size: int
    sources: Sequence[RecordSource]
    mixture: Mixture
    augmentation: Augmentation
    seed: int
    attempts: int
    needs_regions: bool = False
    cache: ImageCache | None = None
    begun: OrderedDict[tuple[int, int], None] = field(default_factory=OrderedDict)
    checked: dict[tuple[int, int], tuple[Sample, int]] = field(default_factory=dict)

    def positions(self, step: int) -> range:
        """The positions that the batch of a step takes, of all processes together."""
        return range(step * self.batch_size, (step + 1) * self.batch_size)

    def items(self, positions: range, met: RecordTally) -> list[DrawnSample[Sample]] | None:
        """The samples at some positions; `met` notes others. None where no record gives a sample."""
        if any(source.distant for source in self.sources):
            # Corpora on other machines hear which records come, unless they hear of whole runs.
            for corpus, index in map(self.mixture.locate, positions):
                if self.sources[corpus].distant and self.mixture.run(corpus, index) is None:
                    self.sources[corpus].expect(index, index + 1)
        before, skipped, passed_over = met.read, len(met.skipped), met.regionless
        found: list[DrawnSample[Sample]] = []
        for position in positions:
            if (read := self._read(position, met)) is None:
                return None
            sample, picture = read
            found.append((sample, sample_generator(self.seed, self.kind.number, position), picture))
        counts = met.read - before, len(met.skipped) - skipped, met.regionless - passed_over
        met.reads.append(StreamReads(self.kind.value, *counts))
        return found

    def _read(self, position: int, met: RecordTally) -> tuple[Sample, int] | None:
        corpus, index = self.mixture.locate(position)
        source = self.sources[corpus]
        run = self.mixture.run(corpus, index)
        if run is not None and (corpus, run.start) not in self.begun:
            self.begun[corpus, run.start] = None
            if len(self.begun) > 1024:  # are remembered
                self.begun.popitem(last=False)
            source.expect(run.start, run.stop)
        # A thousand pictures without regions in a row, and a stream that needs regions gives up.
        attempts = self.attempts + (1000 if self.needs_regions else 0)
        for attempt in range(min(attempts, len(source))):
            number = (index + attempt) % len(source)
            met.read += 1
            if (found := self.checked.get((corpus, number))) is not None:
                return found
            try:
                record = source.record(number)
                if self.needs_regions and record.annotation.get("regions", []) == []:
                    met.regionless += 1
                    continue
                picture = 0 if record.picture is None else identity(record.picture)
                known = self.cache.find(picture) if self.cache is not None and picture else None
                sample = to_sample(replace(record, decoded=known), source.kind)
                if self.cache is not None and known is None and isinstance(sample, ImageSample):
                    self.cache.keep(picture, sample.pixels)
                if known is not None:
                    self.checked[corpus, number] = sample, picture
                return sample, picture
            except BadRecordError as error:
                met.skipped.append(BadRecord(error.origin, error.reason))
        return None
