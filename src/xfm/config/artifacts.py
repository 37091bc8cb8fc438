"""Manifests of models, of exported graphs and of adapters. Nothing here imports torch."""

from dataclasses import dataclass, field
from enum import StrEnum

from xfm.config.ranges import check_range


@dataclass(frozen=True)
class Tolerance:
    """How far a model that runs may be from what it was saved with.

    Attributes:
        cosine: least, of a vector with the stored one.
        odds: most, of the log-odds of a match and of a task's numbers, as a part of the number and one more.
        box: most, of the sides of a box, as a fraction of the picture's.
    """

    cosine: float
    odds: float
    box: float


FLOAT32, HALF = Tolerance(0.9999, 0.01, 0.005), Tolerance(0.99, 0.25, 0.05)
"""Where rounding alone may differ, and of matrix products in half precision."""
PIXELS = 0.02
"""Most difference of the mean of a part of the prepared picture, in deviations of its channel."""


@dataclass(frozen=True)
class CheckValues:
    """What a model makes of a text and a picture.

    Attributes:
        pixels: [48] means of 4 x 4 parts of the three channels of the prepared picture.
        image: [E] the picture's unit vector.
        tokens: [T] ids of the text; empty where the model has no tokenizer, as all below.
        text: [E] the text's unit vector.
        match: log-odds of a match, of the two.
        box: of the text in the picture: (cx, cy, w, h) as fractions of its sides.
        answer: logits of a head's classes, or log-likelihoods of the text's tokens; empty without a head.
    """

    pixels: tuple[float, ...]
    image: tuple[float, ...]
    tokens: tuple[int, ...] = ()
    text: tuple[float, ...] = ()
    match: float | None = None
    box: tuple[float, ...] = ()
    answer: tuple[float, ...] = ()


@dataclass(frozen=True)
class SelfCheck:
    """A text and a picture with what the model made of them when it was saved.

    Attributes:
        text: as it was written; it is read as captions are.
        picture: the bytes of a PNG, in base64.
        values: what the model made of the two, in float32 on a CPU.
    """

    text: str
    picture: str
    values: CheckValues


MANIFEST = "exported.json"


class Format(StrEnum):
    """What the graphs of an exported model are written as.

    ONNX: `.onnx`, for onnxruntime and others.
    OPENVINO: `.xml` with `.bin`.
    """

    ONNX = "onnx"
    OPENVINO = "openvino"


@dataclass(frozen=True)
class GraphFile:
    """A part of the model.

    Attributes:
        name: image, text, fusion, words, fused_words or head.
        file: in the folder.
        about: what goes in and what comes out, in a sentence.
    """

    name: str
    file: str
    about: str = ""


@dataclass(frozen=True)
class Manifest:
    """An exported model.

    Attributes:
        format: of its graphs.
        graphs: its parts.
        source: the model that it was made of.
        versions: of what wrote it, as `NAME VERSION`.
    """

    format: Format
    graphs: tuple[GraphFile, ...]
    source: str = ""
    versions: tuple[str, ...] = field(default_factory=tuple)


MOST_RANK, MOST_ALPHA = 1 << 12, 1 << 20


@dataclass(frozen=True)
class AdapterConfig:
    """An adapter: what a fine-tuning learned, without the model that it began with.

    Attributes:
        base: that model: an absolute path of its folder, or its name.
        weights: Sha256 of its `model.safetensors`, by which it is known again.
        rank: of LoRA's additions.
        alpha: their scale; they are multiplied by alpha / rank.
    """

    base: str
    weights: str
    rank: int
    alpha: int

    def __post_init__(self) -> None:
        check_range("rank", self.rank, 1, MOST_RANK)
        check_range("alpha", self.alpha, 0, MOST_ALPHA)

    @property
    def scale(self) -> float:
        """What the additions are multiplied by."""
        return self.alpha / self.rank
