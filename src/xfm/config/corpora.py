"""What `xfm prepare CORPUS` and `xfm doctor` are asked. Nothing here imports torch."""

from dataclasses import dataclass, field
from enum import StrEnum

from xfm.config.inference import EngineName
from xfm.config.tables import BoxFormat, BoxUnit
from xfm.config.typed import Limited, limited


class CorpusName(StrEnum):
    """A corpus as it is published, or a way in which own data lie."""

    COCO = "coco"
    VG = "vg"
    SBU = "sbu"
    CC3M = "cc3m"
    CC12M = "cc12m"
    LAION = "laion"
    OBJECTS365 = "objects365"
    OPENIMAGES = "openimages"
    IMAGENET = "imagenet"
    WIKIPEDIA = "wikipedia"
    C4 = "c4"
    OPENWEBTEXT = "openwebtext"
    TEXT = "text"
    FOLDER = "folder"
    TABLE = "table"


CORPORA = {
    CorpusName.COCO: "annotations/ with captions_*.json and instances_*.json, beside train2014/ and so on",
    CorpusName.VG: "image_data.json, region_descriptions.json, objects.json, attributes.json, VG_100K*/",
    CorpusName.SBU: "what img2dataset wrote as webdataset: 00000.tar and so on",
    CorpusName.CC3M: "as sbu",
    CorpusName.CC12M: "as sbu",
    CorpusName.LAION: "as sbu",
    CorpusName.OBJECTS365: "zhiyuan_objv2_train.json, or another in COCO's format, and the pictures below",
    CorpusName.OPENIMAGES: "*-annotations-bbox.csv, *class-descriptions*.csv, train/",
    CorpusName.IMAGENET: "train/ with a folder a class (or such folders alone)",
    CorpusName.WIKIPEDIA: "as text",
    CorpusName.C4: "as text",
    CorpusName.OPENWEBTEXT: "as text",
    CorpusName.TEXT: ".jsonl, .json, .parquet with a column text, .txt, also as .gz; a folder or a file",
    CorpusName.FOLDER: "pictures, each with NAME.txt (a caption a line) or NAME.json beside it",
    CorpusName.TABLE: "any table with the columns image, and caption or regions",
}
"""What lies in the folder that each is prepared from."""


class Duplicates(StrEnum):
    """What becomes of pictures (and texts) that are there twice.

    keep: nothing is looked for.
    exact: of equal bytes, the first stays.
    alike: of pictures that look alike, and of texts that share most of their words, too (needs the extra
        language).
    """

    KEEP = "keep"
    EXACT = "exact"
    ALIKE = "alike"


@dataclass(frozen=True)
class PrepareConfig(Limited):
    """How a corpus is prepared.

    Attributes:
        splits: parts of the corpus, such as train2014,val2014 or train; all if not given.
        shard_size: pictures, or rows of texts, that are read for a shard.
        shard_mb: megabytes of plain text that are read for a shard.
        max_side: longest side in pixels, to which larger pictures are shrunk; 0 keeps the bytes of all.
        quality: of JPEG, 1 to 95, for every picture; if not given, 90 for those that are shrunk alone.
        min_side: pixels of the shorter side below which a picture is left out.
        max_aspect: times that the longer side may be as long as the shorter one; 0 for any.
        min_words: words below which a caption or text is left out.
        max_words: words above which a caption or text is left out; 0 for any.
        language: keep texts of this language alone, such as en (needs the extra language).
        duplicates: what becomes of pictures or texts that are there twice.
        distance: bits of 64 in which the hashes of two pictures may differ that look alike, or of two texts.
        evaluation: files and folders of evaluations, whose pictures are left out.
        licence: said in the manifest, in place of what the corpus was published under.
        workers: processes that work; 0 takes one a core. Does not change the result.
        engine: who does the work. Does not change the result.
    """

    splits: list[str] = field(default_factory=list)
    shard_size: int = limited(1000, 1, 1_000_000)
    shard_mb: int = limited(64, 1, 4096)
    max_side: int = limited(0, 0, 65_535)
    quality: int | None = limited(None, 1, 95)
    min_side: int = limited(0, 0, 65_535)
    max_aspect: float = limited(0.0, 0, 65_535)
    min_words: int = limited(0, 0)
    max_words: int = limited(0, 0)
    language: str = ""
    duplicates: Duplicates = Duplicates.KEEP
    distance: int = limited(4, 0, 15)
    evaluation: list[str] = field(default_factory=list)
    licence: str = ""
    workers: int = limited(0, 0, 1024)
    engine: EngineName = EngineName.LOCAL

    @property
    def looks_first(self) -> bool:
        """Whether every picture is looked at before any is written."""
        return self.duplicates is not Duplicates.KEEP or bool(self.evaluation)


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
        task: for which a table is meant, such as vqa; without, the columns that any task has are read.
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
    sample: int = limited(0, 0)
    near_duplicates: bool = True
    distance: int = limited(4, 0, 15)
    min_side: int = limited(32, 0, 65_535)
    max_aspect: float = limited(10.0, 1, 65_535)
    max_words: int = limited(0, 0)
    rare_class_below: int = limited(5, 0)
    box_format: BoxFormat = BoxFormat.XYWH
    box_unit: BoxUnit = BoxUnit.PIXEL
    examples: int = limited(12, 0, 200)
    tolerate: float = limited(0.0, 0, 1)
    seed: int = limited(0, 0)
    workers: int = limited(0, 0, 1024)
