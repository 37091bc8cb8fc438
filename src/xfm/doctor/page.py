"""`report.html` of an examination: the verdict, findings with examples, distributions, classes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from xfm.config.doctor import DoctorConfig
from xfm.doctor.cards import PatientCard
from xfm.doctor.diagnosis import Diagnosis
from xfm.doctor.findings import MEANINGS, Finding, Meaning
from xfm.doctor.tally import SHOWN
from xfm.reports.charts import histograms
from xfm.reports.page import Thumbnails, page_template
from xfm.reports.scores import write_output

_CLASSES = 30


@dataclass(frozen=True)
class PageExample:
    """A record, what is wrong with it, and the record that it is compared with."""

    card: PatientCard
    detail: str
    other: PatientCard | None


@dataclass(frozen=True)
class PageFinding:
    """A finding with its counts and examples."""

    name: str
    meaning: Meaning
    count: int
    records: int
    examples: list[PageExample]


def write_page(path: Path, found: Diagnosis, cards: Mapping[int, PatientCard], config: DoctorConfig) -> None:
    """Write the page; a note on stderr says which package it lacks.

    Args:
        path: of the page.
        found: what is wrong.
        cards: of the records that are examples.
        config: how it was examined.

    Raises:
        UserError: it cannot be written.
    """
    try:
        template = page_template("doctor.html", Thumbnails(Path("/")))
        spreads = {name: one.by_edge() for name, one in sorted(found.spreads.items())}
        chart = histograms(spreads) if spreads else ""
    except ImportError as error:
        note = f"Note: no page, because {error.name} is not installed: pip install 'xfm[report]'."
        return tqdm.write(note, file=sys.stderr)
    findings = [_finding(one, found, cards) for one in MEANINGS if found.parts.get(one)]
    seen = [PageExample(cards[one.number], "", None) for one in found.examples.get(SHOWN, ())]
    labels = [*found.labels.items()]
    page = template.render(
        found=found,
        findings=findings,
        seen=seen,
        chart=chart,
        spreads={name: found.spreads[name] for name in spreads},
        labels=labels[:_CLASSES] if len(labels) <= _CLASSES + 10 else labels[: _CLASSES // 2],
        rarest=[] if len(labels) <= _CLASSES + 10 else labels[-_CLASSES // 2 :],
        config=config,
    )
    write_output(path, page)


def _finding(finding: Finding, found: Diagnosis, cards: Mapping[int, PatientCard]) -> PageFinding:
    examples = [
        PageExample(cards[one.number], one.detail, None if one.other is None else cards[one.other])
        for one in found.examples.get(finding, ())
    ]
    return PageFinding(
        finding.value, MEANINGS[finding], found.parts[finding], found.records[finding], examples
    )
