"""Configuration of the encoders. Nothing here imports torch."""

from dataclasses import MISSING, dataclass, field
from enum import StrEnum
from math import prod
from typing import ClassVar

from xfm.config.typed import Limited, check_limits, check_range, limited, refuse

Grid = tuple[int, int]
"""Rows and columns of patches."""

MAX_WIDTH, MAX_DEPTH, MAX_ROWS, MAX_GRID, MAX_PATCHES = 65_536, 1000, 10_000_000, 256, 8192
"""Far above any model: numbers of a damaged or hostile file stop before such a model is begun."""


class Positions(StrEnum):
    """Absolute positions of the vision encoder."""

    NONE = "none"
    SINE_2D = "sine-2d"


class TextPooling(StrEnum):
    """The state that stands for a whole text, in slot 0 of what a text encoder gives.

    first: that of the first token, as BERT's.
    mean: the mean of all tokens, as sentence-transformers'.
    last: that of the last token, as CLIP's.
    filled: that of the last place of a text that is filled up with padding to its full length, as SigLIP's.
    """

    FIRST = "first"
    MEAN = "mean"
    LAST = "last"
    FILLED = "filled"


class TextPositions(StrEnum):
    """Positions that the fusion encoder adds to what the language encoder made of a text."""

    NONE = "none"
    SINE = "sine"


@dataclass(frozen=True)
class ImageInputConfig:
    """What every vision encoder says of its input and its sizes.

    Attributes:
        image_size: side of the square input in pixels.
        patch_size: side of a patch in pixels; divides image_size and image_width.
        image_width: width of an input that is not square; image_size is then its height.
        width: width of the hidden states.
        depth: number of blocks.
        heads: attention heads; divides width.
    """

    image_size: int = 224
    patch_size: int = 16
    image_width: int | None = field(default=None, kw_only=True)
    width: int = limited(768, 1, MAX_WIDTH)
    depth: int = limited(12, 1, MAX_DEPTH)
    heads: int = limited(12, 1, MAX_WIDTH)

    def __post_init__(self) -> None:
        check_limits(self, "vision.")
        check_range("vision.patch_size", self.patch_size, 1, MAX_WIDTH)
        sides = {"image_size": self.image_size, "image_width": self.image_width}
        for name, side in sides.items():
            if side is not None:
                check_range(f"vision.{name}", side, 1, MAX_WIDTH)
                refuse({f"vision.patch_size must divide vision.{name}": side % self.patch_size})
                check_range(f"vision.{name} / vision.patch_size", side // self.patch_size, 1, MAX_GRID)
        # Every pair of patches has a place in memory, whatever the file of weights holds.
        check_range("the number of patches by vision.image_size", self.patches, 1, MAX_PATCHES)

    @property
    def grid(self) -> Grid:
        """Rows and columns of patches."""
        return self.image_size // self.patch_size, (self.image_width or self.image_size) // self.patch_size

    @property
    def patches(self) -> int:
        """Number of patches P."""
        return prod(self.grid)


@dataclass(frozen=True)
class VisionConfig(ImageInputConfig):
    """BEiT-2 style vision encoder.

    Attributes:
        mlp_ratio: width of the feed-forward part relative to width.
        layer_scale: initial value of both LayerScale vectors.
        drop_path: drop-path rate of the last block, rising linearly from 0.
        positions: absolute positions added to the patches (none in the published model).
        init_std: spread of the initial weights; narrow models from scratch want about 1 / sqrt(width).
        norm_eps: epsilon of the LayerNorms.
        stem: widths of n convolutions in front of the blocks (arXiv 2106.14881): squares of patch_size / 2^n
            pixels are projected, then n times windows of 3 x 3 with stride 2. Empty, as published: a patch
            is projected whole.
    """

    mlp_ratio: float = limited(4.0, 1 / MAX_WIDTH, 1000)
    layer_scale: float = limited(0.1, 0)
    drop_path: float = limited(0.1, 0, 1)
    positions: Positions = Positions.NONE
    init_std: float = limited(0.02, 0)
    norm_eps: float = limited(1e-6, 0, 1)
    stem: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        sine = self.positions is not Positions.NONE
        for width in self.stem:
            check_range("vision.stem", width, 1, MAX_WIDTH)
        refuse(
            {
                "vision.heads must divide vision.width": self.width % self.heads,
                "vision.width must be a multiple of 4 for 2-D sine positions": sine and self.width % 4,
                "vision.patch_size must be a multiple of 2^n for n widths of vision.stem": self.patch_size
                % 2 ** len(self.stem),
            }
        )


@dataclass(frozen=True)
class TimmVisionConfig(ImageInputConfig):
    """A vision transformer of timm in the vision encoder's place (`xfm init --vision timm:NAME`).

    Attributes:
        architecture: timm's name of the model, without a tag.
        drop_path: drop-path rate of the last block, rising linearly from 0.
    """

    architecture: str = field(kw_only=True)
    drop_path: float = limited(0.0, 0, 1)


@dataclass(frozen=True)
class TimmConvConfig(TimmVisionConfig):
    """A convolutional network of timm in the vision encoder's place. A patch is what a cell of the last
    feature map stands for, `patch_size` the network's stride, `depth` its number of stages.

    Attributes:
        train_batch_norm: batch norms use and update the statistics of a training's batches; otherwise they
            keep those that they came with.
        frozen_stages: stages that no training changes, with all that is before them.
        classes: of the network's own classifier, whose probabilities follow the features and 16 numbers of a
            cell's place in every state (the width counts all); the stages that are trained are then there as
            they came, too. 0: features alone.
    """

    train_batch_norm: bool = False
    frozen_stages: int = limited(0, 0, MAX_DEPTH)
    classes: int = limited(0, 0, MAX_WIDTH)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("vision.frozen_stages", self.frozen_stages, 0, self.depth - 1)
        alone = self.classes and not self.frozen_stages
        refuse({"vision.classes is of stages that are not trained: set vision.frozen_stages": alone})


@dataclass(frozen=True)
class TransformersVisionConfig(ImageInputConfig):
    """The vision encoder of a CLIP or SigLIP of transformers (`xfm init --pair`).

    Attributes:
        settings: what transformers' `config.json` says of it, as JSON text.
    """

    settings: str = field(kw_only=True)


@dataclass(frozen=True)
class OpenClipVisionConfig(ImageInputConfig):
    """The vision transformer of a model of open_clip (`xfm init --pair`).

    Attributes:
        open_clip: `model_cfg` of its `open_clip_config.json`, as JSON text.
    """

    open_clip: str = field(kw_only=True)


@dataclass(frozen=True)
class LanguageConfig(Limited, place="language."):
    """RoBERTa language encoder, and with the last five attributes also BERT.

    Attributes:
        vocab_size: number of tokens.
        width: width of the hidden states.
        depth: number of layers.
        heads: attention heads; divides width.
        mlp_width: width of the feed-forward part.
        max_positions: rows of the position table (first_position more than the longest text).
        dropout: dropout of hidden states and attention.
        init_std: spread of the initial weights, see `VisionConfig`.
        norm_eps: epsilon of the LayerNorms.
        pad: id of the padding token.
        first_position: row of the position table that the first token takes (RoBERTa 2, BERT 0).
        segments: segment vectors: 1 for all tokens alike, 2 when a pair's second text has its own (BERT).
        separator: id of the token that ends the first segment.
        pooling: the state that slot 0 holds, that of the first token or the mean.
    """

    written: ClassVar[bool] = False

    vocab_size: int = limited(50265, 1, MAX_ROWS)
    width: int = limited(768, 1, MAX_WIDTH)
    depth: int = limited(12, 1, MAX_DEPTH)
    heads: int = limited(12, 1, MAX_WIDTH)
    mlp_width: int = limited(3072, 1, MAX_ROWS)
    max_positions: int = limited(514, 3, MAX_ROWS)
    dropout: float = limited(0.1, 0, 1)
    init_std: float = limited(0.02, 0)
    norm_eps: float = limited(1e-5, 0, 1)
    pad: int = 1
    first_position: int = 2
    segments: int = limited(1, 1, 2)
    separator: int = 2
    pooling: TextPooling = TextPooling.FIRST

    def __post_init__(self) -> None:
        super().__post_init__()
        of_others = self.pooling not in (TextPooling.FIRST, TextPooling.MEAN)
        refuse({f"language.pooling is {self.pooling}, and xfm's own encoder has first and mean": of_others})
        refuse({"language.heads must divide language.width": self.width % self.heads})
        check_range("language.first_position", self.first_position, 0, self.max_positions - 1)
        for name in ("pad", "separator"):
            check_range(f"language.{name}", getattr(self, name), 0, self.vocab_size - 1)

    @property
    def longest(self) -> int:
        """Most tokens of a text."""
        return self.max_positions - self.first_position


@dataclass(frozen=True, kw_only=True)
class LibraryTextConfig(Limited, place="language."):
    """What is known of a text encoder that another library computes.

    Attributes:
        vocab_size: number of tokens, rows of the word matrix.
        width: width of the hidden states.
        max_positions: longest text in tokens.
        pad: id of the padding token.
        pooling: the state that slot 0 holds.
        written: captions are read as they are written; otherwise as X-FM's, in small letters without signs.
    """

    # Of the token head, and of a decoder on this vocabulary, see `LanguageConfig`.
    norm_eps: ClassVar[float] = 1e-5
    first_position: ClassVar[int] = 0
    segments: ClassVar[int] = 1

    vocab_size: int = limited(MISSING, 1, MAX_ROWS)
    width: int = limited(MISSING, 1, MAX_WIDTH)
    max_positions: int = limited(MISSING, 3, MAX_ROWS)
    pad: int = limited(MISSING, 0)
    pooling: TextPooling = TextPooling.FIRST
    written: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("language.pad", self.pad, 0, self.vocab_size - 1)

    @property
    def longest(self) -> int:
        """Most tokens of a text."""
        return self.max_positions

    @property
    def separator(self) -> int:
        """Without segments none is needed."""
        return self.pad


@dataclass(frozen=True, kw_only=True)
class TransformersTextConfig(LibraryTextConfig):
    """A text encoder of transformers in the language encoder's place (`xfm init --language hf:NAME`).

    Attributes:
        settings: what transformers' `config.json` says, as JSON text; it belongs to transformers.
    """

    settings: str


@dataclass(frozen=True, kw_only=True)
class OpenClipTextConfig(LibraryTextConfig):
    """The text transformer of a model of open_clip (`xfm init --pair`).

    Attributes:
        open_clip: `model_cfg` of its `open_clip_config.json`, as JSON text.
    """

    open_clip: str


@dataclass(frozen=True)
class FusionConfig(Limited, place="fusion."):
    """Fusion encoder: the width is the language encoder's, keys and values take the vision encoder's.

    Attributes:
        depth: number of layers, each with self-attention, cross-attention and feed-forward.
        heads: attention heads; divides the language width.
        mlp_width: width of the feed-forward part.
        dropout: dropout of hidden states and attention.
        init_std: spread of the initial weights, see `VisionConfig`.
        positions: `sine` adds fixed positions to the states of a text, for small models from scratch.
        frozen_words: the matrix of words, which the token head of IMLM reads, stays as it begins.
    """

    depth: int = limited(12, 1, MAX_DEPTH)
    heads: int = limited(12, 1, MAX_WIDTH)
    mlp_width: int = limited(3072, 1, MAX_ROWS)
    dropout: float = limited(0.1, 0, 1)
    init_std: float = limited(0.02, 0)
    positions: TextPositions = TextPositions.NONE
    frozen_words: bool = False


AnyVisionConfig = (
    VisionConfig | TimmVisionConfig | TimmConvConfig | TransformersVisionConfig | OpenClipVisionConfig
)
AnyLanguageConfig = LanguageConfig | TransformersTextConfig | OpenClipTextConfig
