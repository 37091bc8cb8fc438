"""How pictures become the model's pixels: framing, mean and deviation. Nothing here imports torch."""

from enum import StrEnum

Channels = tuple[float, float, float]
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

NORMALISATIONS: dict[str, tuple[Channels, Channels]] = {
    "clip": (CLIP_MEAN, CLIP_STD),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and deviation of the three channels, of values in [0, 1], by what was trained with them."""


class Framing(StrEnum):
    """How a picture of any shape becomes the model's.

    squash: resized to it, whatever its aspect.
    centre: the shorter side is resized to 8 / 7 of the model's (256 for 224), then the centre is cropped, as
        ImageNet is evaluated.
    close-centre: likewise to 9 / 7 (288), as the published linear evaluations of most other sets.
    """

    SQUASH = "squash"
    CENTRE = "centre"
    CLOSE_CENTRE = "close-centre"

    @property
    def enlarged(self) -> tuple[int, int] | None:
        """Numerator and denominator of the shorter side's share before the crop; None where all is shown."""
        return {Framing.CENTRE: (8, 7), Framing.CLOSE_CENTRE: (9, 7)}.get(self)


class Colours(StrEnum):
    """Mean and deviation by which pixels are normalised.

    model: the model's own.
    imagenet: ImageNet's, as the published evaluations of ImageNet.
    half: 0.5 and 0.5, as the published linear evaluations of all other sets.
    """

    MODEL = "model"
    IMAGENET = "imagenet"
    HALF = "half"

    @property
    def normalisation(self) -> tuple[Channels, Channels] | None:
        """Mean and deviation; None where they are the model's."""
        return NORMALISATIONS.get(self.value)
