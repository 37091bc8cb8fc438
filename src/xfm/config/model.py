"""Configuration of the model. Nothing here imports torch."""

from dataclasses import dataclass, field
from enum import StrEnum

from xfm.config.ranges import check_range

MAX_WIDTH, MAX_DEPTH, MAX_ROWS, MAX_GRID = 65_536, 1000, 10_000_000, 256
"""Far above any model: numbers of a damaged or hostile file stop before such a model is begun."""


class Positions(StrEnum):
    """Absolute positions of the vision encoder."""

    NONE = "none"
    SINE_2D = "sine-2d"


@dataclass(frozen=True)
class VisionConfig:
    """BEiT-2 style vision encoder.

    Attributes:
        image_size: side of the square input in pixels.
        patch_size: side of a patch in pixels; divides image_size.
        width: width of the hidden states.
        depth: number of blocks.
        heads: attention heads; divides width.
        mlp_ratio: width of the feed-forward part relative to width.
        layer_scale: initial value of both LayerScale vectors.
        drop_path: drop-path rate of the last block, rising linearly from 0.
        positions: absolute positions added to the patches (none in the published model).
        init_std: spread of the initial weights. 0.02 suits a width of 768 with pre-trained weights; narrow
            models from scratch learn faster with about 1 / sqrt(width).
    """

    image_size: int = 224
    patch_size: int = 16
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_ratio: float = 4.0
    layer_scale: float = 0.1
    drop_path: float = 0.1
    positions: Positions = Positions.NONE
    init_std: float = 0.02

    def __post_init__(self) -> None:
        check_range("vision.image_size", self.image_size, 1, MAX_WIDTH)
        check_range("vision.patch_size", self.patch_size, 1, MAX_WIDTH)
        check_range("vision.width", self.width, 1, MAX_WIDTH)
        _check_layers("vision", self.depth, self.heads)
        check_range("vision.mlp_ratio", self.mlp_ratio, 1 / MAX_WIDTH, 1000)
        check_range("vision.drop_path", self.drop_path, 0, 1)
        check_range("vision.init_std", self.init_std, 0)
        check_range("vision.layer_scale", self.layer_scale, 0)
        _require(self.image_size % self.patch_size == 0, "vision.patch_size must divide vision.image_size")
        check_range("vision.image_size / vision.patch_size", self.grid, 1, MAX_GRID)
        _require(self.width % self.heads == 0, "vision.heads must divide vision.width")
        _require(
            self.positions is Positions.NONE or self.width % 4 == 0,
            "vision.width must be a multiple of 4 for 2-D sine positions",
        )

    @property
    def grid(self) -> int:
        """Patches along one side."""
        return self.image_size // self.patch_size

    @property
    def patches(self) -> int:
        """Number of patches P."""
        return self.grid**2


@dataclass(frozen=True)
class LanguageConfig:
    """RoBERTa language encoder.

    Attributes:
        vocab_size: number of tokens; the mask token is the last.
        width: width of the hidden states.
        depth: number of layers.
        heads: attention heads; divides width.
        mlp_width: width of the feed-forward part.
        max_positions: rows of the position table (two more than the longest text).
        dropout: dropout of hidden states and attention.
        init_std: spread of the initial weights, see `VisionConfig`.
    """

    vocab_size: int = 50265
    width: int = 768
    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    max_positions: int = 514
    dropout: float = 0.1
    init_std: float = 0.02

    def __post_init__(self) -> None:
        check_range("language.vocab_size", self.vocab_size, 1, MAX_ROWS)
        check_range("language.width", self.width, 1, MAX_WIDTH)
        _check_layers("language", self.depth, self.heads)
        check_range("language.mlp_width", self.mlp_width, 1, MAX_ROWS)
        check_range("language.max_positions", self.max_positions, 3, MAX_ROWS)
        check_range("language.dropout", self.dropout, 0, 1)
        check_range("language.init_std", self.init_std, 0)
        _require(self.width % self.heads == 0, "language.heads must divide language.width")


@dataclass(frozen=True)
class FusionConfig:
    """Fusion encoder: the width is the language encoder's, keys and values take the vision encoder's.

    Attributes:
        depth: number of layers, each with self-attention, cross-attention and feed-forward.
        heads: attention heads; divides the language width.
        mlp_width: width of the feed-forward part.
        dropout: dropout of hidden states and attention.
        init_std: spread of the initial weights, see `VisionConfig`.
    """

    depth: int = 12
    heads: int = 12
    mlp_width: int = 3072
    dropout: float = 0.1
    init_std: float = 0.02

    def __post_init__(self) -> None:
        _check_layers("fusion", self.depth, self.heads)
        check_range("fusion.mlp_width", self.mlp_width, 1, MAX_ROWS)
        check_range("fusion.dropout", self.dropout, 0, 1)
        check_range("fusion.init_std", self.init_std, 0)


@dataclass(frozen=True)
class ModelConfig:
    """The whole model.

    Attributes:
        vision, language, fusion: the three encoders.
        projection: width E of the contrastive space.
        temperature: initial contrastive temperature.
    """

    vision: VisionConfig = field(default_factory=VisionConfig)
    language: LanguageConfig = field(default_factory=LanguageConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)
    projection: int = 256
    temperature: float = 0.07

    def __post_init__(self) -> None:
        _require(self.language.width % self.fusion.heads == 0, "fusion.heads must divide language.width")
        check_range("projection", self.projection, 1, MAX_WIDTH)
        _require(0.001 <= self.temperature <= 0.5, "temperature must lie in [0.001, 0.5]")


def _check_layers(name: str, depth: int, heads: int) -> None:
    check_range(f"{name}.depth", depth, 1, MAX_DEPTH)
    check_range(f"{name}.heads", heads, 1, MAX_WIDTH)


def _require(condition: bool, message: str) -> None:
    if not condition:
        raise ValueError(message)
