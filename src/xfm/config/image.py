"""Pixels of a model and views of training. Nothing here imports torch."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from xfm.config.typed import Limited, limited

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
    shortest: the shorter side is resized to the model's, then the centre is cropped, as CLIP.
    """

    SQUASH = "squash"
    CENTRE = "centre"
    CLOSE_CENTRE = "close-centre"
    SHORTEST = "shortest"

    @property
    def enlarged(self) -> tuple[int, int] | None:
        """Numerator and denominator of the shorter side's share before the crop; None where all is shown."""
        return {Framing.CENTRE: (8, 7), Framing.CLOSE_CENTRE: (9, 7), Framing.SHORTEST: (1, 1)}.get(self)


class Interpolation(StrEnum):
    """How pixels are computed where a picture is resized, always antialiased.

    bicubic, bilinear: as torch and transformers' processors compute them.
    pillow-bicubic, pillow-bilinear: as Pillow, and so open_clip, computes them; of 300 values one differs, by
        one level of 255.
    """

    BICUBIC = "bicubic"
    BILINEAR = "bilinear"
    PILLOW_BICUBIC = "pillow-bicubic"
    PILLOW_BILINEAR = "pillow-bilinear"

    @property
    def mode(self) -> str:
        """The kind of interpolation, without its library."""
        return self.value.removeprefix("pillow-")

    @property
    def by_pillow(self) -> bool:
        """Whether Pillow resizes."""
        return self.mode != self.value


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


class Operations(StrEnum):
    """What RandAugment (arXiv 1909.13719) draws from.

    torchvision: the fourteen operations of torchvision's RandAugment.
    timm: those of timm, as ImageNet is trained with there (rand-mN-mstd0.5-inc1); needs the package timm.
    published: ten operations of X-FM's code, of colour and of geometry, each done at one half chance.
    colour: those of them that move nothing, so that boxes stay true.
    """

    TORCHVISION = "torchvision"
    TIMM = "timm"
    PUBLISHED = "published"
    COLOUR = "colour"


class MirrorRule(StrEnum):
    """Which pictures are never mirrored.

    keep: those of which a text says left or right, as a word or in one (leftmost).
    letters: those of which a text holds these letters ("bright", too), as X-FM's code in VQA and grounding.
    ignore: none, as X-FM's code trains retrieval, reasoning and captions.
    """

    KEEP = "keep"
    LETTERS = "letters"
    IGNORE = "ignore"


VIEW = tuple(
    f"image.{name}" for name in ("crop", "aspect", "flip", "sides", "rand_augment", "magnitude", "operations")
)
"""The settings of tasks with pictures and texts."""
BOX_VIEW = tuple(name for name in VIEW if name != "image.aspect")
"""Those of tasks with boxes, around which a picture is cropped."""


@dataclass(frozen=True)
class ImageTrainingConfig(Limited, place="image."):
    """How training pictures are varied and mixed; by default not at all. Evaluation never is.

    Attributes:
        crop: smallest share of a picture's area that a random crop shows; 1 shows all of it.
        aspect: largest aspect of a crop relative to a square; its inverse is the smallest.
        flip: probability of mirroring.
        sides: which pictures are never mirrored, because a text of theirs says left or right.
        rand_augment: operations of RandAugment (arXiv 1909.13719) on each picture; 0 leaves it out.
        magnitude: their strength, from 0 to 10 (timm's scale, in which recipes are written).
        operations: what they are drawn from.
        erasing: probability of erasing a rectangle of a picture (arXiv 1708.04896).
        mixup: parameter of the Beta distribution that two pictures are mixed by (arXiv 1710.09412); 0: none.
        cutmix: likewise of the area cut out of another picture (arXiv 1905.04899); with both, one a batch.
        mixing: probability that a batch is mixed at all.
        label_smoothing: share of the target that is spread over all classes.
        drop_path: drop-path rate of the vision encoder's last block; None leaves the model's.
    """

    crop: float = limited(1.0, 0.01, 1)
    aspect: float = limited(1.0, 1, 10)
    flip: float = limited(0.0, 0, 1)
    sides: MirrorRule = MirrorRule.KEEP
    rand_augment: int = limited(0, 0, 10)
    magnitude: int = limited(9, 0, 10)
    operations: Operations = Operations.TORCHVISION
    erasing: float = limited(0.0, 0, 1)
    mixup: float = limited(0.0, 0, 100)
    cutmix: float = limited(0.0, 0, 100)
    mixing: float = limited(1.0, 0, 1)
    label_smoothing: float = limited(0.0, 0, 1)
    drop_path: float | None = limited(None, 0, 1)

    @property
    def crops(self) -> bool:
        """Whether a part of a picture is shown."""
        return self.crop < 1 or self.aspect > 1

    @property
    def varies(self) -> bool:
        """Whether single pictures are changed at all."""
        return self.crops or self.flip > 0 or self.rand_augment > 0 or self.erasing > 0


UNVARIED = ImageTrainingConfig()
"""Pictures as evaluation sees them."""

_MIXING: dict[str, Any] = {"mixup": 0.8, "cutmix": 1.0, "label_smoothing": 0.1}
STRONG = ImageTrainingConfig(crop=0.08, aspect=4 / 3, flip=0.5, rand_augment=2, erasing=0.25, **_MIXING)
"""What ImageNet is fine-tuned with; X-FM's code has timm's RandAugment in it (recipe `imagenet`)."""
