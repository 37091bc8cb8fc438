"""Protocols of the vision and language encoders, and their builders."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol

from torch import Tensor, nn

from xfm.config.encoders import (
    LanguageConfig,
    TimmVisionConfig,
    TransformersTextConfig,
    VisionConfig,
)
from xfm.models.language import LanguageEncoder
from xfm.models.layers import Embeddings
from xfm.models.library_encoders import TimmVision, TransformersText
from xfm.models.vision import VisionEncoder

AnyVision = VisionEncoder | TimmVision
AnyLanguage = LanguageEncoder | TransformersText


class VisionLike(Protocol):
    """Pictures to patch vectors, row-major, with the pooled vector in slot 0.

    Its `layers`, from the first on, have learning rates of their own, and are sharded by themselves; one may
    name parts of itself as `units` that are gathered alone. `last_norms` are behind the last layer.
    """

    layers: Sequence[nn.Module] | nn.ModuleList
    last_norms: Sequence[nn.Module]

    def __call__(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] float (and [B, P] bool masked patches) -> [B, 1 + P, Dv]."""
        ...

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take pictures of another size from now on: a square's side, or height and width."""
        ...

    def compute_buffers(self) -> None:
        """Compute what no file of weights holds; for modules that were built without memory."""
        ...

    def set_drop_path(self, rate: float) -> None:
        """Let the drop-path rate in training rise linearly over the blocks, from 0 to `rate` in [0, 1)."""
        ...


class LanguageLike(Protocol):
    """Texts to hidden states; the first token stands for the text. The MLM head is tied to `words`; layers
    and norms as of `VisionLike`."""

    layers: Sequence[nn.Module] | nn.ModuleList
    last_norms: Sequence[nn.Module]
    words: nn.Embedding

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] int64 ids and [R, T] bool mask -> [R, T, Dt]."""
        ...

    def copy_words(self, embeddings: Embeddings) -> None:
        """Overwrite embeddings of the same vocabulary and width with those that the encoder has."""
        ...


VISION: dict[type, Callable[[Any], Any]] = {VisionConfig: VisionEncoder, TimmVisionConfig: TimmVision}
LANGUAGE: dict[type, Callable[[Any], Any]] = {
    LanguageConfig: LanguageEncoder,
    TransformersTextConfig: TransformersText,
}
"""The encoder of each configuration, built with random weights; a UserError where its library cannot."""


def encode_first(language: AnyLanguage, ids: Tensor, mask: Tensor) -> Tensor:
    """[R, T] ids and mask -> [R, D] token 0 alone; cheaper where the encoder has a method of this name."""
    alone = getattr(language, "encode_first", None)
    return alone(ids, mask) if alone else language(ids, mask)[:, 0]


def layered_parts(model: nn.Module) -> Iterator[tuple[str, Any]]:
    """The encoders and decoders of a model or a task's model, with their names in it."""
    for name, module in model.named_modules():
        if name.rpartition(".")[2] in ("vision", "language", "fusion", "decoder") and hasattr(
            module, "layers"
        ):
            yield name, module


def layers_of(model: nn.Module) -> list[nn.Module]:
    """The layers of all encoders and decoders of a model."""
    return [layer for _, part in layered_parts(model) for layer in part.layers]


def units_of(model: nn.Module) -> list[nn.Module]:
    """Parts of the layers that compute in sequence, each from the last one's output."""
    return [unit for layer in layers_of(model) for unit in getattr(layer, "units", (layer,))]
