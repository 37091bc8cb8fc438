"""A record as the page shows it: small pictures with its boxes, and its texts."""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from xfm.config.boxes import BoxFormat, BoxUnit
from xfm.config.doctor import DoctorConfig
from xfm.data.picture_formats import PictureError
from xfm.data.pictures import decode, read_picture
from xfm.doctor.boxes import Sides, box_flaw, in_pixels
from xfm.doctor.cases import PatientCase
from xfm.doctor.findings import MEANINGS, Harm
from xfm.errors import excerpt
from xfm.reports.page import thumbnail

_BOXES, _TEXTS, _LONGEST = 40, 6, 300


class Outline(NamedTuple):
    """A box that is drawn, and whether something is wrong with it."""

    sides: Sides
    bad: bool


@dataclass(frozen=True)
class Shot:
    """A picture.

    Attributes:
        uri: of the small picture; empty where it does not decode.
        width, height: in pixels, of the picture itself.
        boxes: that are drawn.
    """

    uri: str
    width: int
    height: int
    boxes: tuple[Outline, ...] = ()


@dataclass(frozen=True)
class PatientCard:
    """A record on the page.

    Attributes:
        place: where it is.
        shots: its pictures.
        texts: what each text is, and the beginning of it.
        labels: names of its classes.
    """

    place: str
    shots: tuple[Shot, ...]
    texts: tuple[tuple[str, str], ...]
    labels: tuple[str, ...]


def card_of(case: PatientCase, table: bool, config: DoctorConfig) -> PatientCard:
    """The card of a record; `table` says whether its boxes are written as the configuration says."""
    form = (config.box_format, config.box_unit) if table else (BoxFormat.XYWH, BoxUnit.PIXEL)
    shots = [_shot(one, case if place == 0 else None, form) for place, one in enumerate(case.pictures)]
    texts = [
        (told.name, excerpt(told.text if isinstance(told.text, str) else repr(told.text), _LONGEST))
        for told in case.texts[:_TEXTS]
    ]
    if len(case.texts) > _TEXTS:
        texts.append(("", f"and {len(case.texts) - _TEXTS} more"))
    return PatientCard(case.place, tuple(shots), tuple(texts), case.labels)


def _shot(picture: bytes | Path, case: PatientCase | None, form: tuple[BoxFormat, BoxUnit]) -> Shot:
    try:
        pixels = decode(read_picture(picture) if isinstance(picture, Path) else picture).pixels
    except PictureError:
        return Shot("", 0, 0)
    height, width = pixels.shape[1:]
    boxes = list[Outline]()
    for one in case.boxes[:_BOXES] if case is not None else ():
        box = in_pixels(one.box, (width, height), *form)
        flaw = box_flaw(box, (width, height))
        if (sides := _sides(box)) is not None:
            boxes.append(Outline(sides, flaw is not None and MEANINGS[flaw.finding].harm is not Harm.NOTE))
    return Shot(thumbnail(pixels), width, height, tuple(boxes))


def _sides(box: object) -> Sides | None:
    """A box that can be drawn: what lies far outside does not fit on the page."""
    try:
        left, top, width, height = (max(-1e6, min(1e6, float(one))) for one in box)  # pyright: ignore
    except (TypeError, ValueError, OverflowError):
        return None
    return (left, top, width, height) if width >= 0 and height >= 0 else None
