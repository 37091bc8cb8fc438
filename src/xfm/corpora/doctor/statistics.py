"""What is counted: in a unit of work, and of all units together; the same whoever did which."""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from xfm.corpora.doctor.findings import Finding, Issue

_STEPS = (12, 15, 20, 25, 30, 40, 50, 60, 80, 100)
EDGES = (*range(11), *(step * 10**power for power in range(9) for step in _STEPS))
"""Where the bins of a distribution begin."""
MOST_CLASSES = 100_000
SHOWN = "shown"
"""Among the examples: records of any sort, whatever is wrong with them."""


@dataclass
class Distribution:
    """How a number is spread.

    Attributes:
        count, low, high: of the values.
        thousandths: their sum, in whole numbers, which is the same in whatever order they are added.
        bins: how many lie from an edge of `EDGES` to the next, by the place of the edge.
    """

    count: int = 0
    thousandths: int = 0
    low: float = 0.0
    high: float = 0.0
    bins: Counter[int] = field(default_factory=Counter)

    def add(self, value: float) -> None:
        """Count a value that is not negative."""
        self.low = min(self.low, value) if self.count else value
        self.high = max(self.high, value) if self.count else value
        self.count += 1
        self.thousandths += round(1000 * value)
        self.bins[bisect_right(EDGES, value) - 1] += 1

    def join(self, other: "Distribution") -> None:
        """Take in those of another."""
        if other.count:
            self.low = min(self.low, other.low) if self.count else other.low
            self.high = max(self.high, other.high) if self.count else other.high
        self.count += other.count
        self.thousandths += other.thousandths
        self.bins.update(other.bins)

    def by_edge(self) -> dict[str, int]:
        """Counts from the first bin that has any to the last, by the edge where they begin."""
        if not self.bins:
            return {}
        return {f"{EDGES[place]:g}": self.bins[place] for place in range(min(self.bins), max(self.bins) + 1)}

    def summary(self) -> dict[str, Any]:
        """For people."""
        ends = {"least": self.low, "most": self.high, "mean": round(self.mean, 3)}
        return {"count": self.count, **ends, "from": self.by_edge()}

    @property
    def mean(self) -> float:
        """Of the values; 0 where there are none."""
        return self.thousandths / 1000 / self.count if self.count else 0.0


class KeptExample(NamedTuple):
    """A record that may be shown.

    Attributes:
        badness: the worst come first.
        ticket: drawn by lot, for those that are equally bad.
        number: of the record.
        detail: what is wrong with it.
    """

    badness: float
    ticket: int
    number: int
    detail: str


@dataclass
class Statistics:
    """Counts.

    Attributes:
        read: records.
        parts: of each finding, how many pictures, texts, boxes and so on.
        records: of each finding, how many records have it.
        spreads: sizes and lengths.
        labels: rows of each class.
        examples: of each finding.
    """

    read: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    spreads: dict[str, Distribution] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[KeptExample]] = field(default_factory=dict)

    def measure(self, name: str, value: float) -> None:
        """Count a value of a distribution."""
        self.spreads.setdefault(name, Distribution()).add(value)

    def find(self, found: Mapping[Finding, list[Issue]], number: int, seed: int, most: int) -> None:
        """Count what is wrong with a record.

        Args:
            found: by finding.
            number: of the record.
            seed: of the lot that chooses examples.
            most: examples of each finding.
        """
        lot = ticket(number, seed)
        for finding, own in found.items():
            self.parts[finding] += len(own)
            self.records[finding] += 1
            worst = max(own, key=lambda one: one.badness)
            self._keep(finding, KeptExample(worst.badness, lot, number, worst.detail), most)
        self._keep(SHOWN, KeptExample(0.0, lot, number, ""), most)

    def _keep(self, name: str, example: KeptExample, most: int) -> None:
        """Keep an example while it is among the worst; of equally bad ones the lot decides, as in a
        reservoir."""
        kept = self.examples.setdefault(name, [])
        kept.append(example)
        if len(kept) > 2 * most + 8:
            self._trim(name, most)

    def _trim(self, name: str, most: int) -> None:
        self.examples[name] = sorted(self.examples[name], key=lambda one: (-one.badness, one.ticket))[:most]

    def join(self, other: "Statistics", most: int) -> None:
        """Take in the counts of other records, in any order."""
        self.read += other.read
        self.parts.update(other.parts)
        self.records.update(other.records)
        for name, spread in other.spreads.items():
            self.spreads.setdefault(name, Distribution()).join(spread)
        self.labels.update(other.labels)
        if len(self.labels) > MOST_CLASSES:  # these are no classes
            self.labels = Counter(dict(self.labels.most_common(MOST_CLASSES)))
        for name, kept in other.examples.items():
            self.examples.setdefault(name, []).extend(kept)
            self._trim(name, most)


def ticket(number: int, seed: int) -> int:
    """A number that looks drawn, and is the same whoever draws it."""
    digest = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")
