"""Configuration of the data. Nothing here imports torch."""

import math
from dataclasses import MISSING, dataclass, field
from enum import StrEnum

from xfm.config.typed import MAX_BATCH, Limited, check_limits, limited
from xfm.core.paths import SECRET, holds_secret


class Augmentation(StrEnum):
    """How training pictures are varied.

    published: RandomResizedCrop(0.2-1), flip, RandAugment(2, 7).
    mild: RandomResizedCrop(0.8-1), mild colour, no flip: for captions that state counts, places or colours.
    none: squash to the square.
    """

    PUBLISHED = "published"
    MILD = "mild"
    NONE = "none"


class Order(StrEnum):
    """In which order an epoch reads the records of a corpus; each of them once, whichever it is.

    random: any record may follow any other, for storage that finds every place at once.
    runs: records that lie beside each other are read together, for storage that reads long stretches better
        (disks that turn, network file systems): runs come in a random order, and the records of a few of them
        are mixed.
    """

    RANDOM = "random"
    RUNS = "runs"


@dataclass(frozen=True)
class CorpusConfig(Limited, place="corpora."):
    """One corpus of a stream.

    Attributes:
        path: shards (`dir/*.tar`, also at s3://bucket/dir/*.tar), a JSON-lines file, or a folder of these.
        weight: share of the stream's samples relative to the other corpora.
        group: so many records that follow one another travel in one batch (2 for twin scenes).
        order: in which order its records are read.
        run: records of a run, for the order `runs`.
        window: runs whose records are mixed with each other: their bytes are what should fit into memory.
    """

    path: str
    weight: float = 1.0
    group: int = limited(1, 1, MAX_BATCH)
    order: Order = Order.RANDOM
    run: int = limited(1000, 1, 1 << 32)
    window: int = limited(16, 1, 1 << 32)

    def __post_init__(self) -> None:
        super().__post_init__()
        if holds_secret(self.path):
            raise ValueError(f"corpora.path {self.path.partition('://')[0]}://...: {SECRET}")


@dataclass(frozen=True)
class StreamConfig:
    """One kind of data: how many samples a step takes, and from which corpora.

    Attributes:
        batch_size: samples (of regions: pictures) of a batch of all processes; 0 leaves the stream out.
        corpora: the weighted corpora.
        augmentation: how pictures are varied (ignored for text).
    """

    batch_size: int = 0
    corpora: list[CorpusConfig] = field(default_factory=list)
    augmentation: Augmentation = Augmentation.PUBLISHED

    @property
    def group(self) -> int:
        """The least number of samples that holds whole groups of each of its corpora."""
        return math.lcm(*(corpus.group for corpus in self.corpora))


@dataclass(frozen=True)
class TokenMaskConfig:
    """Masking of tokens.

    Attributes:
        probability: share of the tokens to mask (special tokens count in the length).
        max_masks: most masks in a sequence.
        max_tokens: longest sequence in tokens, special tokens included.
        skipgram: probability that a visited word starts a run of 2..skipgram_size words.
        skipgram_size: longest run, in words.
        whole_word: mask all pieces of a word together.
    """

    probability: float = limited(MISSING, 0, 1)
    max_masks: int = limited(MISSING, 0)
    max_tokens: int = limited(MISSING, 3)
    skipgram: float = limited(0.2, 0, 1)
    skipgram_size: int = limited(3, 1)
    whole_word: bool = True


@dataclass(frozen=True)
class PatchMaskConfig:
    """Block-wise masking of patches.

    Attributes:
        patches: masked patches per picture (75 of 196 in the published run).
        min_block: smallest block in patches.
        on_pairs: whether MIM also takes the pairs' pictures.
    """

    patches: int = limited(75, 0)
    min_block: int = limited(16, 1)
    on_pairs: bool = True


@dataclass(frozen=True)
class RemoteConfig(Limited, place="data.remote."):
    """Corpora at addresses (s3://, hf://, https://).

    Attributes:
        cache_mb: most megabytes of them that are kept on the disk of a machine, for all its processes; what
            was used longest ago goes, and a gigabyte of the disk stays free; 0 keeps none.
        patience: seconds for which a store that does not answer is asked again before the run stops.
    """

    cache_mb: int = limited(8192, 0, 1 << 30)
    patience: float = limited(300.0, 0, 1e6)


STREAMS = ("text", "image", "pair", "region")
"""The fields of `StreamsConfig`."""


@dataclass(frozen=True)
class StreamsConfig:
    """The streams of a training, or of data that is not trained on.

    Attributes:
        text, image, pair, region: the four streams; give pictures of a validation the augmentation `none`.
    """

    text: StreamConfig = field(default_factory=StreamConfig)
    image: StreamConfig = field(default_factory=StreamConfig)
    pair: StreamConfig = field(default_factory=StreamConfig)
    region: StreamConfig = field(default_factory=StreamConfig)

    @property
    def streams(self) -> dict[str, StreamConfig]:
        """The four streams by name."""
        return {name: getattr(self, name) for name in STREAMS}


@dataclass(frozen=True)
class DataConfig(StreamsConfig):
    """Data of a pre-training run.

    Attributes:
        validation: data that is not trained on, whose losses `training.validate_every` asks for.
        tokenizer: `tokenizer.json` of the vocabulary.
        max_words: longest caption in words.
        max_regions: most region rows per picture.
        mean_regions: most region rows per picture on average over a process's batch, drawn at random; 0: all.
        caption_rows: whether a caption of the whole picture is a row of a region batch too.
        row_multiple: region batches of over 144 rows are cut to a multiple of this, so that few shapes occur.
        caption_mask: masking of captions and phrases.
        text_mask: masking of plain text.
        patch_mask: masking of patches.
        max_bad: bad records after which the run stops.
        workers: loader processes; 0 loads in the training process.
        timeout: seconds to wait for a batch of the loader processes before the run stops; 0 waits always.
        cache_mb: most megabytes of memory in which decoded pictures are kept from epoch to epoch, in all
            processes of a machine together; never more than half of what is free; 0 keeps none.
        remote: how corpora at addresses are read.
    """

    validation: StreamsConfig = field(default_factory=StreamsConfig)
    tokenizer: str = "tokenizer.json"
    max_words: int = limited(30, 1)
    max_regions: int = limited(5, 1)
    mean_regions: float = limited(0.0, 0)
    caption_rows: bool = True
    row_multiple: int = limited(1, 1, 144)
    caption_mask: TokenMaskConfig = field(default_factory=lambda: TokenMaskConfig(0.5, 15, 30))
    text_mask: TokenMaskConfig = field(default_factory=lambda: TokenMaskConfig(0.15, 20, 128))
    patch_mask: PatchMaskConfig = field(default_factory=PatchMaskConfig)
    max_bad: int = limited(100, 0)
    workers: int = limited(2, 0, 1024)
    timeout: float = limited(1800.0, 0)
    cache_mb: int = limited(1024, 0)
    remote: RemoteConfig = field(default_factory=RemoteConfig)

    def __post_init__(self) -> None:
        check_limits(self, "data.")
        if 0 < self.mean_regions < 1:
            raise ValueError(f"data.mean_regions is {self.mean_regions:g}: choose 0, or at least 1")
        for name in ("patch_mask", "caption_mask", "text_mask"):
            check_limits(getattr(self, name), f"data.{name}.")
