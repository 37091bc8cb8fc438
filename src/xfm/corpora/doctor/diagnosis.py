"""Result of an examination, as numbers and in a sentence."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from xfm.core.errors import amount
from xfm.corpora.doctor.findings import EXPLANATIONS, Finding
from xfm.corpora.doctor.statistics import Distribution

TABLE = "table"
"""The kind of rows of a table."""


@dataclass(frozen=True)
class FindingExample:
    """A record with a finding, its detail, and the record that it is compared with."""

    number: int
    detail: str
    other: int | None = None

    @property
    def numbers(self) -> tuple[int, ...]:
        """Of both records, or the one."""
        return (self.number,) if self.other is None else (self.number, self.other)


@dataclass(frozen=True)
class Diagnosis:
    """Result of an examination.

    Attributes:
        kind: of the records; rows of a table are `TABLE`.
        left_out: records that training leaves out.
        hurt: records that training uses and that harm it.
        parts: pictures, texts, boxes and so on with each finding.
        records: records with each finding; of rare classes, their rows.
        spreads: distributions of sizes and lengths.
        labels: rows of each class, the most frequent first.
        rare: rows of each class that has few.
        tolerate: share of records with findings that is accepted.
    """

    path: str
    kind: str
    read: int
    left_out: int
    hurt: int
    parts: Mapping[Finding, int]
    records: Mapping[Finding, int]
    spreads: Mapping[str, Distribution]
    labels: Mapping[str, int]
    rare: Mapping[str, int]
    examples: Mapping[str, list[FindingExample]] = field(repr=False)
    tolerate: float = 0.0

    @property
    def status(self) -> int:
        """Exit status: 0 training may start, 1 there are findings, 2 no record can be used."""
        if self.left_out == self.read:
            return 2
        many = self.left_out + self.hurt > self.tolerate * self.read
        return 1 if many or (self.rare and not self.tolerate) else 0

    @property
    def verdict(self) -> str:
        """In a sentence."""
        records, hurt = amount(self.read, "record"), amount(self.hurt, "more hurts", "more hurt")
        what = f"{self.left_out:,} of {records} would be left out, {hurt}"
        if self.status == 2:
            return f"Training cannot start: none of {records} can be used."
        if self.status == 0:
            told = what if self.left_out + self.hurt else f"nothing is wrong with {records}"
            return f"Training may start: {told}."
        rare = f"; classes with few rows: {len(self.rare):,}" if self.rare else ""
        return f"Look at the findings first: {what}{rare}."

    def plain(self, places: Mapping[int, str]) -> dict[str, Any]:
        """As JSON; `places` are those of the examples' records."""
        found = {
            finding.value: {
                "title": EXPLANATIONS[finding].title,
                "harm": EXPLANATIONS[finding].harm.value,
                "count": self.parts[finding],
                "records": self.records[finding],
                "examples": [_plain(one, places) for one in self.examples.get(finding, ())],
            }
            for finding in EXPLANATIONS
            if self.parts.get(finding)
        }
        return {
            "path": self.path,
            "kind": self.kind,
            "status": self.status,
            "verdict": self.verdict,
            "records": {"read": self.read, "left_out": self.left_out, "hurt": self.hurt},
            "findings": found,
            "distributions": {name: one.summary() for name, one in sorted(self.spreads.items())},
            "classes": dict(self.labels),
        }


def _plain(one: FindingExample, places: Mapping[int, str]) -> dict[str, Any]:
    other = {} if one.other is None else {"other": places[one.other]}
    return {"place": places[one.number], "detail": one.detail, **other}
