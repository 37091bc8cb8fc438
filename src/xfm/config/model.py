"""Configuration of the model. Nothing here imports torch."""

from dataclasses import dataclass, field
from enum import StrEnum

from xfm.config import encoders
from xfm.config.typed import check_limits, limited, refuse


class EncoderName(StrEnum):
    """The three encoders."""

    LANGUAGE = "language"
    VISION = "vision"
    FUSION = "fusion"


class MimTarget(StrEnum):
    """What MIM predicts at masked patches.

    states: what the same encoder makes of the whole picture, guided by all it learns (paper section 3.2).
    initial: what the vision encoder made of the whole picture before the run's first step.
    pixels: the patch's pixels, each patch normalised to mean 0 and deviation 1 (He et al. 2021, "Masked
        autoencoders are scalable vision learners"), by a linear head that nothing else uses.
    """

    STATES = "states"
    INITIAL = "initial"
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


@dataclass(frozen=True)
class ModelConfig:
    """The whole model.

    Attributes:
        vision: the native vision encoder, or one of timm.
        language: the native language encoder, or one of transformers.
        fusion: the fusion encoder.
        projection: width E of the contrastive space, which takes both.
        temperature: initial contrastive temperature.
        pixel_head: a linear head for the pixels of masked patches, which `training.mim_target pixels` trains.
        logit_bias: a bias of the similarity, added to cosine / temperature, as SigLIP's: their sigmoid is the
            probability that text and picture belong together.
    """

    vision: encoders.AnyVisionConfig = field(default_factory=encoders.VisionConfig)
    language: encoders.AnyLanguageConfig = field(default_factory=encoders.LanguageConfig)
    fusion: encoders.FusionConfig = field(default_factory=encoders.FusionConfig)
    projection: int = limited(256, 1, encoders.MAX_WIDTH)
    temperature: float = limited(0.07, 0.001, 0.5)
    pixel_head: bool = False
    logit_bias: bool = False

    def __post_init__(self) -> None:
        refuse({"fusion.heads must divide language.width": self.language.width % self.fusion.heads})
        check_limits(self)
