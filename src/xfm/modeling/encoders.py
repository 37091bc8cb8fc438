"""What the rest of the code asks of the two encoders, and the one place that builds them."""

from typing import Protocol

from torch import Tensor, nn

from xfm.config.model import AnyLanguageConfig, AnyVisionConfig, LanguageConfig, VisionConfig
from xfm.modeling.language import LanguageEncoder
from xfm.modeling.timm_vision import TimmVision
from xfm.modeling.transformers_text import TransformersText
from xfm.modeling.vision import VisionEncoder


class VisionLike(Protocol):
    """Pictures to patch vectors, row-major, with the pooled vector in slot 0."""

    def __call__(self, pixels: Tensor, patch_mask: Tensor | None = None) -> Tensor:
        """[B, 3, H, W] float (and [B, P] bool masked patches) -> [B, 1 + P, Dv]."""
        ...

    def resize(self, image_size: int, image_width: int | None = None) -> None:
        """Take pictures of another size from now on: a square's side, or height and width."""
        ...


class LanguageLike(Protocol):
    """Texts to hidden states; the first token stands for the text."""

    @property
    def words(self) -> nn.Embedding:
        """The word matrix, to which the MLM head is tied."""
        ...

    def __call__(self, ids: Tensor, mask: Tensor) -> Tensor:
        """[R, T] int64 ids and [R, T] bool mask -> [R, T, Dt]."""
        ...


def build_vision(config: AnyVisionConfig) -> VisionEncoder | TimmVision:
    """The vision encoder of a configuration, randomly initialised.

    Raises:
        UserError: timm is not installed, or does not have the architecture.
    """
    return VisionEncoder(config) if isinstance(config, VisionConfig) else TimmVision(config)


def build_language(config: AnyLanguageConfig) -> LanguageEncoder | TransformersText:
    """The language encoder of a configuration, randomly initialised.

    Raises:
        UserError: transformers is not installed, or cannot build the model.
    """
    return LanguageEncoder(config) if isinstance(config, LanguageConfig) else TransformersText(config)
