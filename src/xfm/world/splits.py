"""Kinds of objects that the pictures of a split show."""

from collections.abc import Sequence
from enum import StrEnum

from xfm.world.catalog import ObjectType
from xfm.world.rng import Rng
from xfm.world.scene import SceneSampler


class Split(StrEnum):
    """Splits of the task files.

    combinations hold a held-out pair of objects, objects only held-out ones, hard and hard_validation sets of
    kinds that no twins show; the others seen objects in allowed combinations, in scenes of their own.
    """

    TRAIN = "train"
    VALIDATION = "validation"
    SEEN = "seen"
    TEST = "test"
    HARD = "hard"
    HARD_VALIDATION = "hard_validation"
    COMBINATIONS = "combinations"
    OBJECTS = "objects"


class KindChooser:
    """Chooses the kinds of a scene so that it belongs to its split."""

    def __init__(self, sampler: SceneSampler, split: Split) -> None:
        self.sampler = sampler
        self.split = split
        self.catalog = sampler.catalog
        self.pool = self.catalog.heldout if split is Split.OBJECTS else self.catalog.seen
        self.least = 2 if split is Split.COMBINATIONS else 1
        if split is Split.COMBINATIONS:
            partners = [(kind, self.catalog.heldout_partners(kind)) for kind in self.catalog.seen]
            self._partners = {kind: found for kind, found in partners if found}
            self.pool = tuple(self._partners)

    def kind(self, rng: Rng) -> ObjectType:
        """One kind of the split."""
        return rng.pick(self.pool)

    def pair(self, rng: Rng) -> tuple[ObjectType, ObjectType]:
        """Two different kinds that a scene of the split may show together."""
        first = self.kind(rng)
        if self.split is Split.COMBINATIONS:
            return first, rng.pick(self._partners[first])
        while True:
            second = self.kind(rng)
            if second is not first and self.catalog.compatible(first, second):
                return first, second

    def choose(
        self, rng: Rng, count: int, start: Sequence[ObjectType] = (), repeat: int = 25
    ) -> list[ObjectType]:
        """`count` kinds (at least `least`), beginning with `start`; combinations hold a held-out pair."""
        begin = list(start)
        if self.split is Split.COMBINATIONS and len(set(begin)) < 2:
            first = begin[0] if begin else self.kind(rng)
            begin = [*(begin or [first]), rng.pick(self._partners[first])]
        return self.sampler.choose(rng, max(count, len(begin)), self.pool, begin, repeat)
