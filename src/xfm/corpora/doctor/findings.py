"""Findings: their effect on training, and the advice."""

import hashlib
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NamedTuple, Self


class Severity(StrEnum):
    """Effect of a finding on training, the worst first."""

    LEFT_OUT = "left out"
    HURTS = "hurts"
    NOTE = "worth knowing"


_OUT, _HURTS, _NOTE = Severity


class Finding(StrEnum):
    """A finding, the worst first: name in `doctor.json`, effect on training, heading, and advice."""

    harm: Severity
    heading: str
    advice: str

    def __new__(cls, name: str, harm: Severity, heading: str, advice: str) -> Self:
        """A member of the table below."""
        found = str.__new__(cls, name)
        found._value_, found.harm, found.heading, found.advice = name, harm, heading, advice
        return found

    RECORD = "unreadable_record", _OUT, "records that cannot be read", "Mend or remove them."
    PICTURE = "undecodable_picture", _OUT, "pictures that do not decode", "Fetch them again, or remove them."
    EMPTY_TEXT = "empty_text", _OUT, "empty texts", "Remove the text; a record without any goes, too."
    NO_LABEL = "missing_label", _OUT, "rows without a label", "Fill in the label, or remove the row."
    BOX_WRONG = "wrong_box", _OUT, "boxes that are not four numbers", "A box is [left, top, width, height]."
    BOX_OUTSIDE = (
        "box_outside",
        _OUT,
        "boxes outside their picture",
        "Is the format right? `xfm prepare` clips what sticks out.",
    )
    BOX_EMPTY = "degenerate_box", _OUT, "boxes without area", "Remove them."
    FLAT = (
        "picture_of_one_colour",
        _HURTS,
        "pictures of one colour",
        "They show nothing: often what a site sends in place of a picture.",
    )
    SMALL = "small_picture", _HURTS, "small pictures", "`xfm prepare --min-side` leaves them out."
    LONG = (
        "long_picture",
        _HURTS,
        "long or wide pictures",
        "Banners, mostly: `xfm prepare --max-aspect` leaves them out.",
    )
    BOX_TINY = "tiny_box", _HURTS, "boxes of less than two pixels", "Nothing can be seen there."
    LONG_TEXT = "long_text", _HURTS, "texts that are too long", "Their ends are never read."
    ONE_CHARACTER = "text_of_one_character", _HURTS, "texts of one character", "They say nothing."
    NO_LETTERS = "text_without_letters", _HURTS, "texts without letters", "Numbers and file names, mostly."
    REPEATING = "repeating_text", _HURTS, "texts that repeat themselves", "Remove them."
    HTML = "html_in_text", _HURTS, "texts with HTML", "Take out tags and entities."
    ENCODING = (
        "wrong_encoding",
        _HURTS,
        "texts whose encoding went wrong",
        "They were read as another encoding: convert them anew.",
    )
    TWICE = (
        "duplicate",
        _HURTS,
        "duplicates",
        "`xfm prepare --duplicates exact` keeps the first; keep them in one split.",
    )
    CONTRADICTION = (
        "contradicting_labels",
        _HURTS,
        "rows with the input of another and another label",
        "One of the two is wrong.",
    )
    FEW = "class_with_few_rows", _HURTS, "classes with few rows", "Collect more, or put classes together."
    ALIKE = (
        "looks_like_another",
        _NOTE,
        "pictures that look like another",
        "`xfm prepare --duplicates alike` keeps the first.",
    )
    COMMON = (
        "common_text",
        _NOTE,
        "records with a text that many have",
        "Boilerplate? It teaches little, and is a poor caption.",
    )
    BOX_WHOLE = (
        "box_of_the_whole_picture",
        _NOTE,
        "boxes of the whole picture",
        "Should the phrase be a caption?",
    )


class Issue(NamedTuple):
    """A finding of a record, its detail, and its badness: the worst cases are shown first."""

    finding: Finding
    detail: str
    badness: float = 0.0


_STEPS = (12, 15, 20, 25, 30, 40, 50, 60, 80, 100)
EDGES = (*range(11), *(step * 10**power for power in range(9) for step in _STEPS))
"""Where the bins of a distribution begin."""
MOST_CLASSES = 100_000
SHOWN = "shown"
"""Among the examples: records of any sort, whatever is wrong with them."""


@dataclass
class Distribution:
    """A histogram with count, sum in thousandths (exact in any order), and range.

    `bins` count values from an edge of `EDGES` to the next, by the edge's place.
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
        """Add the values of another."""
        if other.count:
            self.low = min(self.low, other.low) if self.count else other.low
            self.high = max(self.high, other.high) if self.count else other.high
        self.count += other.count
        self.thousandths += other.thousandths
        self.bins.update(other.bins)

    def by_edge(self) -> dict[str, int]:
        """Counts by edge, from the first bin that has any to the last."""
        if not self.bins:
            return {}
        return {f"{EDGES[place]:g}": self.bins[place] for place in range(min(self.bins), max(self.bins) + 1)}

    def summary(self) -> dict[str, Any]:
        """As JSON."""
        ends = {"least": self.low, "most": self.high, "mean": round(self.mean, 3)}
        return {"count": self.count, **ends, "from": self.by_edge()}

    @property
    def mean(self) -> float:
        """0 without values."""
        return self.thousandths / 1000 / self.count if self.count else 0.0


class KeptExample(NamedTuple):
    """Number and detail of a record that may be shown; `ticket` decides at random among equally bad ones."""

    badness: float
    ticket: int
    number: int
    detail: str


@dataclass
class Statistics:
    """Counts: `parts` and `records` of each finding, distributions, rows of classes, and examples."""

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
        """Count the issues of a record, keeping the worst `most` examples of each finding."""
        lot = ticket(number, seed)
        for finding, own in found.items():
            self.parts[finding] += len(own)
            self.records[finding] += 1
            worst = max(own, key=lambda one: one.badness)
            self._keep(finding, KeptExample(worst.badness, lot, number, worst.detail), most)
        self._keep(SHOWN, KeptExample(0.0, lot, number, ""), most)

    def _keep(self, name: str, example: KeptExample, most: int) -> None:
        kept = self.examples.setdefault(name, [])
        kept.append(example)
        if len(kept) > 2 * most + 8:
            self._trim(name, most)

    def _trim(self, name: str, most: int) -> None:
        self.examples[name] = sorted(self.examples[name], key=lambda one: (-one.badness, one.ticket))[:most]

    def join(self, other: "Statistics", most: int) -> None:
        """Add the counts of other records, in any order."""
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
    """A pseudo-random number, reproducible from number and seed."""
    digest = hashlib.blake2b(f"{seed}/{number}".encode(), digest_size=6).digest()
    return int.from_bytes(digest, "big")
