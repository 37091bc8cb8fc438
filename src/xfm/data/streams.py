"""A stream of samples: its corpora in a deterministic order, with bad records replaced."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic, TypeVar

import numpy as np

from xfm.config.data import Augmentation
from xfm.data import whereabouts
from xfm.data.collate import identity
from xfm.data.mixture import Mixture
from xfm.data.picture_cache import PictureCache
from xfm.data.records import BadRecordError, Record, SampleKind, to_sample
from xfm.data.rng import sample_generator
from xfm.data.schema import BadRecord, RegionSample, TextSample
from xfm.data.sources import RecordSource, Sample

S = TypeVar("S", bound=Sample, covariant=True)


class UnusableError(Exception):
    """Every record that could have been taken is bad; carries the bad records."""

    def __init__(self, skipped: Sequence[BadRecord]) -> None:
        super().__init__(f"{len(skipped)} bad records")
        self.skipped = tuple(skipped)


@dataclass(frozen=True)
class Item(Generic[S]):
    """A sample of a batch.

    Attributes:
        sample: the decoded record.
        rng: the generator of everything that is drawn for it.
        picture: identity of its encoded picture, 0 without one.
    """

    sample: S
    rng: np.random.Generator
    picture: int


@dataclass(frozen=True)
class CorpusStream:
    """One kind of data.

    Attributes:
        kind: which.
        batch_size: samples per step and process.
        sources: the corpora.
        mixture: the order in which they are visited.
        augmentation: how pictures are varied.
        seed: seed of the samples' generators.
        attempts: bad records in a row after which no replacement is looked for.
        needs_regions: whether a picture without regions gives no row, and is a bad record.
        cache: decoded pictures; None keeps none.
    """

    kind: SampleKind
    batch_size: int
    sources: Sequence[RecordSource]
    mixture: Mixture
    augmentation: Augmentation
    seed: int
    attempts: int
    needs_regions: bool = False
    cache: PictureCache | None = None

    def items(self, first: int, skipped: list[BadRecord], partial: list[BadRecord]) -> list[Item[Sample]]:
        """The `batch_size` samples from position `first` on.

        Bad records are noted in `skipped`, those of which a part of the picture is used in `partial`.

        Raises:
            UnusableError: when `attempts` records in a row are bad.
        """
        found = [self._item(position, skipped) for position in range(first, first + self.batch_size)]
        partial.extend(
            BadRecord(sample.origin, sample.flaw)
            for sample in (item.sample for item in found)
            if not isinstance(sample, TextSample) and sample.flaw is not None
        )
        return found

    def _item(self, position: int, skipped: list[BadRecord]) -> Item[Sample]:
        sample, picture = self._read(position, skipped)
        return Item(sample, sample_generator(self.seed, self.kind.number, position), picture)

    def _read(self, position: int, skipped: list[BadRecord]) -> tuple[Sample, int]:
        """The sample at `position`, or the next good one of its corpus in the order on disk; its picture."""
        corpus, index = self.mixture.locate(position)
        source = self.sources[corpus]
        for attempt in range(min(self.attempts, len(source))):
            number = (index + attempt) % len(source)
            whereabouts.at(f"record {number} of data.{self.kind}.corpora[{corpus}]")
            try:
                record = source.record(number)
                whereabouts.at(record.origin)
                sample, picture = self._decoded(source, record)
                if self.needs_regions and isinstance(sample, RegionSample) and not sample.regions:
                    raise BadRecordError(
                        record.origin, 'the field "regions" is empty, and data.caption_rows is false'
                    )
                return sample, picture
            except BadRecordError as error:
                skipped.append(BadRecord(error.origin, error.reason))
        raise UnusableError(skipped)

    def _decoded(self, source: RecordSource, record: Record) -> tuple[Sample, int]:
        """The record's sample and the identity of its picture, 0 without one; raises BadRecordError."""
        picture = 0 if record.picture is None else identity(record.picture)
        if self.cache is None or record.picture is None:
            return to_sample(record, source.kind, source.limits), picture
        known = self.cache.find(picture)
        sample = to_sample(replace(record, decoded=known), source.kind, source.limits)
        if known is None and not isinstance(sample, TextSample) and sample.flaw is None:
            self.cache.keep(picture, sample.pixels)
        return sample, picture
