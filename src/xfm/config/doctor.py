"""What `xfm doctor` is asked. Nothing here imports more than the standard library."""

from dataclasses import dataclass
from enum import StrEnum

from xfm.config.ranges import Limited, limited
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
class DoctorConfig(Limited):
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
        tokenizer: in whose tokens texts are measured: a tokenizer.json, the folder of a model, or a recipe;
            words if not given.
        examples: of each finding that the page shows.
        tolerate: share of records with findings at which training may start all the same.
        seed: of the choice of examples, and of a sample.
        workers: processes that work; 0 takes one a core. Does not change the result.
    """

    kind: RecordKind = RecordKind.AUTO
    task: str = ""
    sample: int = limited(0, 0)
    near_duplicates: bool = True
    distance: int = limited(4, 0, 15)
    min_side: int = limited(32, 0, 65_535)
    max_aspect: float = limited(10.0, 1, 65_535)
    max_words: int = limited(0, 0)
    rare_class_below: int = limited(5, 0)
    box_format: BoxFormat = BoxFormat.XYWH
    box_unit: BoxUnit = BoxUnit.PIXEL
    tokenizer: str = ""
    examples: int = limited(12, 0, 200)
    tolerate: float = limited(0.0, 0, 1)
    seed: int = limited(0, 0)
    workers: int = limited(0, 0, 1024)
