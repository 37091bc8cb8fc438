"""What is taken over from another model: an encoder, and what feeds it."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from xfm.config.encoders import AnyLanguageConfig, AnyVisionConfig
from xfm.data.tokenizer import Tokenizer
from xfm.errors import UserError
from xfm.modeling.encoders import AnyLanguage, AnyVision
from xfm.modeling.folder import Preprocessing


@dataclass(frozen=True)
class VisionPart:
    """A vision encoder with weights.

    Attributes:
        encoder: the encoder, in evaluation mode.
        preprocessing: how pictures become its pixels.
        fresh: names of its parameters that the source does not have.
        source: where it comes from, for the provenance.
        ignored: names of the source that it has no place for.
    """

    encoder: AnyVision
    preprocessing: Preprocessing
    source: dict[str, Any]
    fresh: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()

    @property
    def config(self) -> AnyVisionConfig:
        """Its configuration."""
        return self.encoder.config


@dataclass(frozen=True)
class LanguagePart:
    """A language encoder with weights.

    Attributes:
        encoder: the encoder, in evaluation mode.
        tokenizer: its vocabulary.
        head: tensors of the MLM head by the names in `TokenHead`, empty where the source has none.
        source: where it comes from, for the provenance.
        ignored: names of the source that it has no place for.
    """

    encoder: AnyLanguage
    tokenizer: Tokenizer
    source: dict[str, Any]
    head: dict[str, Tensor] = field(default_factory=dict)
    ignored: tuple[str, ...] = ()

    @property
    def config(self) -> AnyLanguageConfig:
        """Its configuration."""
        return self.encoder.config


def preprocessing(
    source: Path | str | None, image_size: int, mean: Any, std: Any, image_width: int | None = None
) -> Preprocessing:
    """How pictures become pixels, by the numbers of another model's settings.

    Args:
        source: where they stand.
        image_size, image_width: see `Preprocessing`.
        mean, std: three numbers each, as the settings have them.

    Raises:
        UserError: they are something else.
    """
    try:
        red, green, blue = (float(number) for number in mean)
        deviation = tuple(float(number) for number in std)
        return Preprocessing(image_size, (red, green, blue), deviation, image_width=image_width)  # pyright: ignore[reportArgumentType]
    except (ValueError, TypeError, ArithmeticError) as error:
        raise UserError(
            f"{source}: mean and deviation of the pixels must be three numbers each ({error}); copy it again"
        ) from error
