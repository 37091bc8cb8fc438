"""Where gradients go, and what masked patches are to become. Nothing here imports torch."""

from dataclasses import dataclass
from enum import StrEnum


class EncoderName(StrEnum):
    """The three encoders."""

    LANGUAGE = "language"
    VISION = "vision"
    FUSION = "fusion"


class MimTarget(StrEnum):
    """What MIM predicts at masked patches.

    states: what the same encoder makes of the whole picture, guided by all it learns (paper section 3.2).
    pixels: the patch's pixels, each patch normalised to mean 0 and deviation 1 (He et al. 2021, "Masked
        autoencoders are scalable vision learners"), by a linear head that nothing else uses.
    """

    STATES = "states"
    PIXELS = "pixels"


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

    mlm: tuple[EncoderName, ...] = (EncoderName.LANGUAGE,)
    itc: tuple[EncoderName, ...] = (EncoderName.LANGUAGE, EncoderName.VISION)
    itm: tuple[EncoderName, ...] = (EncoderName.VISION, EncoderName.FUSION)
    imlm: tuple[EncoderName, ...] = (EncoderName.VISION, EncoderName.FUSION)
    mim: tuple[EncoderName, ...] = (EncoderName.VISION,)
    bbp: tuple[EncoderName, ...] = (EncoderName.VISION, EncoderName.FUSION)
