"""What a folder of an exported model says of itself. Nothing here imports torch."""

from dataclasses import dataclass, field
from enum import StrEnum

from xfm.config.self_check import Arithmetic

MANIFEST = "exported.json"


class Format(StrEnum):
    """What the graphs of an exported model are written as.

    ONNX: `.onnx`, for onnxruntime and others.
    OPENVINO: `.xml` with `.bin`.
    TORCH_EXPORT: `.pt2`, for `torch.export.load`.
    """

    ONNX = "onnx"
    OPENVINO = "openvino"
    TORCH_EXPORT = "torch-export"


@dataclass(frozen=True)
class TensorShape:
    """A tensor that goes into a graph or comes out of it.

    Attributes:
        name: of the tensor.
        dtype: float32, int64 or bool.
        shape: sides as numbers, or as the names of those that may be any.
    """

    name: str
    dtype: str
    shape: tuple[str, ...]


@dataclass(frozen=True)
class GraphFile:
    """A part of the model.

    Attributes:
        name: image, text, fusion, words, fused_words, head or decoder.
        file: in the folder.
        inputs, outputs: its tensors, in order.
        about: what goes in and what comes out, in a sentence.
    """

    name: str
    file: str
    inputs: tuple[TensorShape, ...]
    outputs: tuple[TensorShape, ...]
    about: str = ""


@dataclass(frozen=True)
class Manifest:
    """An exported model.

    Attributes:
        format: of its graphs.
        arithmetic: of its weights.
        graphs: its parts.
        source: the model that it was made of.
        versions: of what wrote it, as `NAME VERSION`.
        measured: what the graphs of lower precision lose, in words.
    """

    format: Format
    arithmetic: Arithmetic
    graphs: tuple[GraphFile, ...]
    source: str = ""
    versions: tuple[str, ...] = field(default_factory=tuple)
    measured: str = ""
