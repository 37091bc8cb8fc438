"""Result of an examination, as numbers and in a sentence."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.corpora import DoctorConfig
from xfm.core.errors import amount, excerpt
from xfm.corpora.doctor.checks import checked_boxes
from xfm.corpora.doctor.findings import Finding, Severity
from xfm.corpora.doctor.records import DataRecord
from xfm.data.image_formats import ImageError
from xfm.data.images import decode, read_image
from xfm.data.records import four_numbers
from xfm.reports.charts import histograms
from xfm.reports.page import page_template, thumbnail
from xfm.reports.scores import write_output

TABLE = "table"
"""The kind of rows of a table."""
FindingExample = tuple[int, str, int | None]
"""Number of a record with a finding, its detail, and the number of the record that it is compared with."""


@dataclass(frozen=True)
class Diagnosis:
    """Result of an examination: the kind of the records (rows of a table are `TABLE`); how many were read,
    would be left out by training, and would hurt it; `parts` (pictures, texts, boxes, ...) and records with
    each finding; distributions of sizes and lengths; rows of each class, the most frequent first, and of
    those with few; examples; the share of records with findings that is accepted."""

    path: str
    kind: str
    read: int
    left_out: int
    hurt: int
    parts: Mapping[Finding, int]
    records: Mapping[Finding, int]
    spreads: Mapping[str, Mapping[str, Any]]
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

    def plain(self, cards: Mapping[int, Mapping[str, Any]]) -> dict[str, Any]:
        """As JSON; `cards` of the examples' records have their places."""
        found = {
            finding.value: {
                "title": finding.heading,
                "harm": finding.harm.value,
                "count": self.parts[finding],
                "records": self.records[finding],
                "examples": [
                    {"place": cards[number]["place"], "detail": detail}
                    | ({} if other is None else {"other": cards[other]["place"]})
                    for number, detail, other in self.examples.get(finding, ())
                ],
            }
            for finding in self.parts
        }
        return {
            "path": self.path,
            "kind": self.kind,
            "status": self.status,
            "verdict": self.verdict,
            "records": {"read": self.read, "left_out": self.left_out, "hurt": self.hurt},
            "findings": found,
            "distributions": dict(self.spreads),
            "classes": dict(self.labels),
        }


_CLASSES = 30
_BOXES, _TEXTS, _LONGEST = 40, 6, 300


def card_of(record: DataRecord) -> dict[str, Any]:
    """Card of a record, as the page has it."""
    shots = [_shot(one, record if place == 0 else None) for place, one in enumerate(record.pictures)]
    said = [(name, text if isinstance(text, str) else repr(text)) for name, text, _ in record.texts[:_TEXTS]]
    texts = [(name, excerpt(text, _LONGEST)) for name, text in said]
    if len(record.texts) > _TEXTS:
        texts.append(("", f"and {len(record.texts) - _TEXTS} more"))
    return {"place": record.place, "shots": shots, "texts": texts, "labels": record.labels}


def _shot(picture: bytes | Path, record: DataRecord | None) -> dict[str, Any]:
    """A thumbnail, size in pixels, and boxes with whether they are faulty."""
    try:
        pixels = decode(read_image(picture) if isinstance(picture, Path) else picture)
    except ImageError:
        return {"uri": "", "width": 0, "height": 0, "boxes": []}
    height, width = pixels.shape[1:]
    boxes = list[tuple[list[float], bool]]()
    for _, box, flaw, _ in islice(checked_boxes(record, (width, height)) if record else (), _BOXES):
        if four_numbers(box):  # far outside does not fit on the page
            faulty = flaw is not None and flaw.finding.harm is not Severity.NOTE
            boxes.append(([max(-1e6, min(1e6, float(side))) for side in box], faulty))
    return {"uri": thumbnail(pixels), "width": width, "height": height, "boxes": boxes}


def write_page(
    path: Path, found: Diagnosis, cards: Mapping[int, Mapping[str, Any]], config: DoctorConfig
) -> None:
    """Write the page; without jinja2 or matplotlib, a note on stderr."""
    try:
        template = page_template("doctor.html")
        spreads = {name: one["from"] for name, one in found.spreads.items()}
        chart = histograms(spreads) if spreads else ""
    except ImportError as error:
        note = f"Note: no page, because {error.name} is not installed: pip install 'xfm[report]'."
        return tqdm.write(note, file=sys.stderr)
    labels = [*found.labels.items()]
    few = len(labels) <= _CLASSES + 10
    page = template.render(
        found=found,
        cards=cards,
        chart=chart,
        labels=labels[:_CLASSES] if few else labels[: _CLASSES // 2],
        rarest=[] if few else labels[-_CLASSES // 2 :],
        config=config,
    )
    write_output(path, page)
