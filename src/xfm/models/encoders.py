"""The vision and language encoders by their configurations.

Only this is asked of them: `vision(pixels, patch_mask=None)` gives [B, 1 + P, Dv] with the pooled vector in
slot 0, and there are `resize(image_size, image_width=None)`, `compute_buffers()` and `set_drop_path(rate)`;
`language(ids, mask)` gives [R, T, Dt], and there are `words`, to which the MLM head is tied, and
`copy_words(embeddings)`. Both have `layers`, which may name parts of themselves as `units`, and `last_norms`.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from xfm.config.encoders import (
    LanguageConfig,
    TimmVisionConfig,
    TransformersTextConfig,
    VisionConfig,
)
from xfm.models.language import LanguageEncoder
from xfm.models.library_encoders import TimmVision, TransformersText
from xfm.models.vision import VisionEncoder

AnyVision = VisionEncoder | TimmVision
AnyLanguage = LanguageEncoder | TransformersText
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


def units_of(model: nn.Module) -> list[nn.Module]:
    """Parts of the layers that compute in sequence, each from the last one's output."""
    layers = (layer for _, part in layered_parts(model) for layer in part.layers)
    return [unit for layer in layers for unit in getattr(layer, "units", (layer,))]
