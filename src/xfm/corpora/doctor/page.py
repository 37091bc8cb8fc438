"""`report.html` of an examination: the verdict, findings with examples, distributions, classes."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from xfm.config.doctor import DoctorConfig
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.core.errors import excerpt
from xfm.corpora.doctor.box_checks import Sides, box_flaw, in_pixels
from xfm.corpora.doctor.diagnosis import Diagnosis
from xfm.corpora.doctor.findings import EXPLANATIONS, Severity
from xfm.corpora.doctor.records import DataRecord
from xfm.corpora.doctor.statistics import SHOWN
from xfm.data.picture_formats import PictureError
from xfm.data.pictures import decode, read_picture
from xfm.reports.charts import histograms
from xfm.reports.page import Thumbnails, page_template, thumbnail
from xfm.reports.scores import write_output

_CLASSES = 30


_BOXES, _TEXTS, _LONGEST = 40, 6, 300


@dataclass(frozen=True)
class ImageCard:
    """A thumbnail (empty URI if undecodable), size in pixels, and boxes with whether they are faulty."""

    uri: str
    width: int
    height: int
    boxes: tuple[tuple[Sides, bool], ...] = ()


@dataclass(frozen=True)
class RecordCard:
    """Place, pictures, beginnings of texts by field, and labels of a record on the page."""

    place: str
    shots: tuple[ImageCard, ...]
    texts: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]


def card_of(record: DataRecord, table: bool, config: DoctorConfig) -> RecordCard:
    """Card of a record; boxes of a `table` have the configured format."""
    form = (config.box_format, config.box_unit) if table else (BoxFormat.XYWH, BoxUnit.PIXEL)
    shots = [_shot(one, record if place == 0 else None, form) for place, one in enumerate(record.pictures)]
    texts = [
        (told.name, excerpt(told.text if isinstance(told.text, str) else repr(told.text), _LONGEST))
        for told in record.texts[:_TEXTS]
    ]
    if len(record.texts) > _TEXTS:
        texts.append(("", f"and {len(record.texts) - _TEXTS} more"))
    return RecordCard(record.place, tuple(shots), tuple(texts), record.labels)


def _shot(picture: bytes | Path, record: DataRecord | None, form: tuple[BoxFormat, BoxUnit]) -> ImageCard:
    try:
        pixels = decode(read_picture(picture) if isinstance(picture, Path) else picture).pixels
    except PictureError:
        return ImageCard("", 0, 0)
    height, width = pixels.shape[1:]
    boxes = list[tuple[Sides, bool]]()
    for one in record.boxes[:_BOXES] if record is not None else ():
        box = in_pixels(one.box, (width, height), *form)
        flaw = box_flaw(box, (width, height))
        if (sides := _sides(box)) is not None:
            boxes.append((sides, flaw is not None and EXPLANATIONS[flaw.finding].harm is not Severity.NOTE))
    return ImageCard(thumbnail(pixels), width, height, tuple(boxes))


def _sides(box: object) -> Sides | None:
    """A box that can be drawn: far outside does not fit on the page."""
    try:
        left, top, width, height = (max(-1e6, min(1e6, float(one))) for one in box)  # pyright: ignore
    except (TypeError, ValueError, OverflowError):
        return None
    return (left, top, width, height) if width >= 0 and height >= 0 else None


def write_page(path: Path, found: Diagnosis, cards: Mapping[int, RecordCard], config: DoctorConfig) -> None:
    """Write the page; without jinja2 or matplotlib, a note on stderr."""
    try:
        template = page_template("doctor.html", Thumbnails(Path("/")))
        spreads = {name: one.by_edge() for name, one in sorted(found.spreads.items())}
        chart = histograms(spreads) if spreads else ""
    except ImportError as error:
        note = f"Note: no page, because {error.name} is not installed: pip install 'xfm[report]'."
        return tqdm.write(note, file=sys.stderr)
    findings = [
        {
            "name": one.value,
            "meaning": EXPLANATIONS[one],
            "count": found.parts[one],
            "records": found.records[one],
            "examples": [
                (cards[each.number], each.detail, None if each.other is None else cards[each.other])
                for each in found.examples.get(one, ())
            ],
        }
        for one in EXPLANATIONS
        if found.parts.get(one)
    ]
    seen = [cards[one.number] for one in found.examples.get(SHOWN, ())]
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
