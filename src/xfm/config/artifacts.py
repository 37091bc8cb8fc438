"""Manifests of models, of exported graphs and of adapters. Nothing here imports torch."""

from dataclasses import MISSING, dataclass, replace
from enum import StrEnum

from xfm.config.typed import Limited, limited


@dataclass(frozen=True)
class Tolerance:
    """How far a model that runs may be from what it was saved with: least cosine of a vector with the stored
    one; most of the log-odds of a match and of a task's numbers, as a part of the number and one more; most
    of the sides of a box, as a fraction of the picture's."""

    cosine: float
    odds: float
    box: float


FLOAT32, HALF = Tolerance(0.9999, 0.01, 0.005), Tolerance(0.99, 0.25, 0.05)
INT8 = replace(HALF, cosine=0.995)
"""Where rounding alone may differ; of matrix products in half precision; of encoders in eight bits."""
PIXELS = 0.02
"""Most difference of the mean of a part of the prepared picture, in deviations of its channel."""


@dataclass(frozen=True)
class CheckValues:
    """What a model makes of a picture (means [48] of 4 x 4 parts of the three channels of the prepared one,
    unit vector [E]) and, where it has a tokenizer, of a text: ids [T], unit vector [E], log-odds of a match
    of the two, box (cx, cy, w, h) of the text as fractions of the picture's sides, and `answer`: logits of a
    head's classes, or log-likelihoods of the text's tokens; empty without a head."""

    pixels: tuple[float, ...]
    image: tuple[float, ...]
    tokens: tuple[int, ...] = ()
    text: tuple[float, ...] = ()
    match: float | None = None
    box: tuple[float, ...] = ()
    answer: tuple[float, ...] = ()


@dataclass(frozen=True)
class SelfCheck:
    """A text, which is read as captions are, and a picture (a PNG in base64) with what the model made of the
    two, in float32 on a CPU, when it was saved."""

    text: str
    picture: str
    values: CheckValues


MANIFEST = "exported.json"


class Format(StrEnum):
    """What the graphs of an exported model are written as.

    ONNX: `.onnx`, for onnxruntime and others.
    ONNX_INT8: the same, with the matrices of encoders in eight bits where vectors stay close (`INT8`).
    OPENVINO: `.xml` with `.bin`.
    """

    ONNX = "onnx"
    ONNX_INT8 = "onnx-int8"
    OPENVINO = "openvino"


@dataclass(frozen=True)
class GraphFile:
    """A part of the model (image, text, fusion, words, fused_words or head), its file in the folder, in a
    sentence what goes in and what comes out, and whether it computes in eight bits."""

    name: str
    file: str
    about: str = ""
    int8: bool = False


@dataclass(frozen=True)
class Manifest:
    """An exported model: `source` is the model that it was made of, `versions` are those of what wrote it (as
    `NAME VERSION`)."""

    format: Format
    graphs: tuple[GraphFile, ...]
    source: str = ""
    versions: tuple[str, ...] = ()


@dataclass(frozen=True)
class PackagedEncoders:
    """Of which packages the encoders are that lie beside a model's own weights; what was trained on is of its
    own. Fusion's embeddings are those of the language encoder."""

    language: str
    vision: str


MOST_RANK, MOST_ALPHA = 1 << 12, 1 << 20


@dataclass(frozen=True)
class AdapterConfig(Limited):
    """An adapter: what a fine-tuning learned, without the model that it began with, whose folder's absolute
    path or name is `base`, and whose `model.safetensors` has the Sha256 `weights`. LoRA's additions of `rank`
    are multiplied by alpha / rank."""

    base: str
    weights: str
    rank: int = limited(MISSING, 1, MOST_RANK)
    alpha: int = limited(MISSING, 0, MOST_ALPHA)

    @property
    def scale(self) -> float:
        """What the additions are multiplied by."""
        return self.alpha / self.rank
