"""What a search answers, and how a found picture is told."""

from dataclasses import dataclass
from typing import NotRequired, TypedDict

from torch import Tensor

from xfm.data.boxes import Boxes, BoxFormat, BoxUnit
from xfm.index.conditions import Value
from xfm.index.rows import IndexedPicture, Near
from xfm.inference.matching import PixelBox


class FoundPicture(TypedDict):
    """A picture that was found.

    key: its name in the collection.
    source: where it came from.
    width, height: of the picture as it was given, in pixels.
    score: what the pictures are ordered by: the cosine, or after re-ranking the cosine over the temperature
        plus the weighted log-odds of a match.
    similarity: cosine.
    match: calibrated probability that the text fits the picture; only where it was re-ranked.
    box: what the text is about, in pixels of the picture as it was given; likewise.
    metadata: its fields.
    """

    key: str
    source: str
    width: int
    height: int
    score: float
    similarity: float
    match: NotRequired[float]
    box: NotRequired[PixelBox]
    metadata: dict[str, Value]


@dataclass(frozen=True)
class Answer:
    """What a search found.

    Attributes:
        hits: the best first. Where nothing fits they are the nearest all the same, for whoever wants to look.
        fits: whether anything fits the text well enough; None where nothing was matched, as in a search by a
            picture alone.
        best: the probability of that, by the re-ranked picture that speaks loudest for it; where `fitted` is
            false, the largest probability of a match. None where nothing was matched, or there was nothing.
        least: the probability from which something fits.
        searched: pictures that passed the conditions.
        fitted: whether the probability was fitted to the model's searches (`PresenceFit`). It is for texts
            alone, and by models that `xfm evaluate` scored.
        limits: what the model was not made for, or was trained on, where nothing fits or that something does
            is not `xfm.config.index.SURE`; else empty.
    """

    hits: list[FoundPicture]
    fits: bool | None
    best: float | None
    least: float
    searched: int
    fitted: bool = False
    limits: str = ""


def hit(one: Near, score: float) -> FoundPicture:
    """A picture that was found by its vector."""
    entry = one.entry
    return {
        "key": entry.key,
        "source": entry.source,
        "width": entry.width,
        "height": entry.height,
        "score": score,
        "similarity": one.similarity,
        "metadata": dict(entry.metadata),
    }


def pixel_box(fractions: Tensor, entry: IndexedPicture) -> PixelBox:
    """[4] left, top, right and bottom as parts of a picture, in its pixels."""
    box = Boxes(fractions[None].double(), BoxFormat.XYXY, BoxUnit.FRACTION)
    left, top, right, bottom = box.to_unit(BoxUnit.PIXEL, entry.width, entry.height).data[0].tolist()
    return {"xmin": left, "ymin": top, "xmax": right, "ymax": bottom}
