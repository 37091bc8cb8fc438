"""Where gradients go, and what masked patches are to become: what an ablation changes. Nothing here imports torch."""

from dataclasses import dataclass, field
from enum import StrEnum


class EncoderName(StrEnum):
    """The three encoders."""

    LANGUAGE = "language"
    VISION = "vision"
    FUSION = "fusion"


class MimTarget(StrEnum):
    """What MIM predicts at masked patches.

    states: what the same encoder makes of the whole picture, guided by all that it learns (paper section 3.2).
    pixels: the patch's pixels, each patch normalised to mean 0 and deviation 1 (He et al. 2021, "Masked
        autoencoders are scalable vision learners"), by a linear head that nothing else uses.
    """

    STATES = "states"
    PIXELS = "pixels"


def _reaching(*encoders: EncoderName) -> list[EncoderName]:
    return field(default_factory=lambda: list(encoders))


@dataclass(frozen=True)
class GradientConfig:
    """Which encoders each objective's gradient reaches; the default is the published pre-training.

    Attributes:
        mlm: masked tokens of plain text.
        itc: image-text contrast.
        itm: image-text matching; language and vision can be reached through fusion alone, here and below.
        imlm: masked tokens given the picture.
        mim: masked patches.
        bbp: boxes.
    """

    mlm: list[EncoderName] = _reaching(EncoderName.LANGUAGE)
    itc: list[EncoderName] = _reaching(EncoderName.LANGUAGE, EncoderName.VISION)
    itm: list[EncoderName] = _reaching(EncoderName.VISION, EncoderName.FUSION)
    imlm: list[EncoderName] = _reaching(EncoderName.VISION, EncoderName.FUSION)
    mim: list[EncoderName] = _reaching(EncoderName.VISION)
    bbp: list[EncoderName] = _reaching(EncoderName.VISION, EncoderName.FUSION)
