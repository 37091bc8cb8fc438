"""Findings: their effect on training, the advice, and their counts."""

import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from heapq import nsmallest
from typing import Any, NamedTuple, Self

from xfm.data.records import is_number


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
    BOX_OUTSIDE = "box_outside", _OUT, "boxes outside their picture", "Is the format right?"
    BOX_EMPTY = "degenerate_box", _OUT, "boxes without area", "Remove them."
    FLAT = "picture_of_one_colour", _HURTS, "pictures of one colour", "Often sent in place of a lost picture."
    SMALL = "small_picture", _HURTS, "small pictures", "`xfm prepare --min-side` leaves them out."
    LONG = "long_picture", _HURTS, "long or wide pictures", "`xfm prepare --max-aspect` leaves them out."
    BOX_TINY = "tiny_box", _HURTS, "boxes of less than two pixels", "Nothing can be seen there."
    LONG_TEXT = "long_text", _HURTS, "texts that are too long", "Their ends are never read."
    ONE_CHARACTER = "text_of_one_character", _HURTS, "texts of one character", "They say nothing."
    NO_LETTERS = "text_without_letters", _HURTS, "texts without letters", "Numbers and file names, mostly."
    REPEATING = "repeating_text", _HURTS, "texts that repeat themselves", "Remove them."
    HTML = "html_in_text", _HURTS, "texts with HTML", "Take out tags and entities."
    ENCODING = "wrong_encoding", _HURTS, "texts whose encoding went wrong", "Convert them anew."
    TWICE = "duplicate", _HURTS, "duplicates", "`xfm prepare --duplicates exact` keeps the first."
    CONTRADICTION = "contradicting_labels", _HURTS, "equal inputs with other labels", "One of them is wrong."
    FEW = "class_with_few_rows", _HURTS, "classes with few rows", "Collect more, or put classes together."
    ALIKE = "looks_like_another", _NOTE, "pictures that look alike", "`--duplicates alike` keeps the first."
    BOX_WHOLE = "box_of_the_whole_picture", _NOTE, "boxes of the whole picture", "Rather a caption?"


class Issue(NamedTuple):
    """A finding of a record, its detail, and its badness: the worst cases are shown first."""

    finding: Finding
    detail: str
    badness: float = 0.0


_STEPS = (12, 15, 20, 25, 30, 40, 50, 60, 80, 100)
EDGES = (*range(11), *(step * 10**power for power in range(9) for step in _STEPS))
"""Where the bins of a distribution begin."""
MOST_CLASSES = 100_000


def distribution(values: Mapping[float, int]) -> dict[str, Any]:
    """Count, range, mean, and counts by edge of the bins of values that are not negative, at least one."""
    count, bins = sum(values.values()), Counter[int]()
    for value, times in values.items():
        bins[bisect_right(EDGES, value) - 1] += times
    mean = round(math.fsum(value * times for value, times in values.items()) / count, 3)
    by_edge = {f"{EDGES[place]:g}": bins[place] for place in range(min(bins), max(bins) + 1)}
    return {"count": count, "least": min(values), "most": max(values), "mean": mean, "from": by_edge}


KeptExample = tuple[float, int, str]
"""Of a record that may be shown: goodness, the worst first; number; detail."""


@dataclass
class Statistics:
    """Counts of parts and records with each finding, values, rows of classes; `most` examples of each."""

    most: int
    read: int = 0
    parts: Counter[str] = field(default_factory=Counter)
    records: Counter[str] = field(default_factory=Counter)
    spreads: dict[str, Counter[float]] = field(default_factory=dict)
    labels: Counter[str] = field(default_factory=Counter)
    examples: dict[str, list[KeptExample]] = field(default_factory=dict)

    def measure(self, name: str, value: float) -> None:
        """Count a value of a distribution, to a thousandth."""
        self.spreads.setdefault(name, Counter())[round(value, 3)] += 1

    def find(self, found: Sequence[Issue], number: int) -> None:
        """Count a record and its issues."""
        self.read += 1
        worst = {one.finding: one for one in sorted(found, key=lambda one: one.badness)}
        self.parts.update(one.finding for one in found)
        self.records.update(worst.keys())
        self._keep({finding: [(-one.badness, number, one.detail)] for finding, one in worst.items()})

    def _keep(self, examples: Mapping[str, list[KeptExample]]) -> None:
        for name, kept in examples.items():
            self.examples[name] = nsmallest(self.most, [*self.examples.get(name, ()), *kept])

    def join(self, other: "Statistics") -> None:
        """Add the counts of other records, in any order."""
        self.read += other.read
        self.parts.update(other.parts)
        self.records.update(other.records)
        for name, values in other.spreads.items():
            self.spreads.setdefault(name, Counter()).update(values)
        self.labels.update(other.labels)
        if len(self.labels) > MOST_CLASSES:  # these are no classes
            self.labels = Counter(dict(self.labels.most_common(MOST_CLASSES)))
        self._keep(other.examples)


def rare_classes(labels: Counter[str], few: int) -> dict[str, int]:
    """Classes with fewer rows than `few`; none where labels are values or too many to be classes."""
    if len(labels) > 1000 or (len(labels) > 50 and all(map(is_number, labels))):
        return {}
    return {name: count for name, count in labels.items() if count < few}
