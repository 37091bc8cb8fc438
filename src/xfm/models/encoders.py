"""The vision and language encoders by their configurations.

Only this is asked of them: `vision(pixels, patch_mask=None)` gives [B, 1 + P, Dv] with the pooled vector in
slot 0, and there are `resize(image_size, image_width=None)` and `set_drop_path(rate)`; `language(ids, mask)`
gives [R, T, Dt], and there are `words`, to which the MLM head is tied, and `copy_words(embeddings)`. Both
have `layers`, which may name parts of themselves as `units`, and `compute_buffers()` where there are any that
no file of weights holds.
"""

from collections.abc import Callable, Iterator
from typing import Any

from torch import Tensor, nn

from xfm.config import encoders
from xfm.models.language import LanguageEncoder
from xfm.models.library_encoders import PooledText
from xfm.models.open_clip_encoders import OpenClipText, OpenClipVision
from xfm.models.timm_encoders import TimmConv, TimmVision
from xfm.models.transformers_encoders import TransformersText, TransformersVision
from xfm.models.vision import VisionEncoder

AnyVision = VisionEncoder | TimmVision | TimmConv | TransformersVision | OpenClipVision
AnyLanguage = LanguageEncoder | PooledText
VISION: dict[type, Callable[[Any], Any]] = {
    encoders.VisionConfig: VisionEncoder,
    encoders.TimmVisionConfig: TimmVision,
    encoders.TimmConvConfig: TimmConv,
    encoders.TransformersVisionConfig: TransformersVision,
    encoders.OpenClipVisionConfig: OpenClipVision,
}
LANGUAGE: dict[type, Callable[[Any], Any]] = {
    encoders.LanguageConfig: LanguageEncoder,
    encoders.TransformersTextConfig: TransformersText,
    encoders.OpenClipTextConfig: OpenClipText,
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
    layers = [layer for _, part in layered_parts(model) for layer in part.layers]
    found = ([getattr(layer, name) for name in getattr(layer, "units", ())] or [layer] for layer in layers)
    return [unit for units in found for unit in units]


def last_norms(encoder: Any) -> list[nn.Module]:
    """Norms of an encoder outside its layers and embeddings."""
    inside = {id(part) for layer in encoder.layers for part in layer.modules()}
    named = {name: part for name, part in encoder.named_modules() if id(part) not in inside}
    ends = ("norm", "fc_norm")
    return [one for name, one in named.items() if name.rpartition(".")[2] in ends and "embed" not in name]
