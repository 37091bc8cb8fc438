"""What `xfm doctor` is asked. Nothing here imports more than the standard library."""

from dataclasses import dataclass
from enum import StrEnum

from xfm.config.ranges import check_range
from xfm.config.tables import BoxFormat, BoxUnit


class RecordKind(StrEnum):
    """What records are read as.

    auto: what the first of them look like.
    text: plain texts.
    image: pictures alone.
    pair: pictures with captions.
    region: pictures with captions and boxes.
    """

    AUTO = "auto"
    TEXT = "text"
    IMAGE = "image"
    PAIR = "pair"
    REGION = "region"


@dataclass(frozen=True)
class DoctorConfig:
    """How a data set is examined.

    Attributes:
        kind: what shards, JSON lines and folders of pictures are read as.
        task: for which a table is meant, such as vqa or text-classification; without, the columns that any
            task has are read as far as they are there.
        sample: so many records, spread over all of them; 0 reads all.
        near_duplicates: also look for pictures that look alike.
        distance: bits of 64 in which the perceptual hashes of two pictures may differ that look alike.
        min_side: pixels of the shorter side below which a picture is small.
        max_aspect: times that the longer side may be as long as the shorter one.
        max_words: words above which a text is too long; 0 stands for 200, and 100,000 of plain texts.
        rare_class_below: rows below which a class is rare.
        box_format: of the boxes of a table.
        box_unit: likewise.
        examples: of each finding that the page shows.
        tolerate: share of records with findings at which training may start all the same.
        seed: of the choice of examples, and of a sample.
        workers: processes that work; 0 takes one a core. Does not change the result.
    """

    kind: RecordKind = RecordKind.AUTO
    task: str = ""
    sample: int = 0
    near_duplicates: bool = True
    distance: int = 4
    min_side: int = 32
    max_aspect: float = 10.0
    max_words: int = 0
    rare_class_below: int = 5
    box_format: BoxFormat = BoxFormat.XYWH
    box_unit: BoxUnit = BoxUnit.PIXEL
    examples: int = 12
    tolerate: float = 0.0
    seed: int = 0
    workers: int = 0

    def __post_init__(self) -> None:
        for name in ("sample", "max_words", "rare_class_below", "seed"):
            check_range(name, getattr(self, name), 0)
        check_range("distance", self.distance, 0, 15)
        check_range("min_side", self.min_side, 0, 65_535)
        check_range("max_aspect", self.max_aspect, 1, 65_535)
        check_range("examples", self.examples, 0, 200)
        check_range("tolerate", self.tolerate, 0, 1)
        check_range("workers", self.workers, 0, 1024)
