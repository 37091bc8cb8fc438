"""How pictures are varied in fine-tuning. Nothing here imports torch."""

from dataclasses import dataclass

from xfm.config.ranges import check_range, check_ranges


@dataclass(frozen=True)
class ImageTrainingConfig:
    """How training pictures are varied and mixed; by default not at all. Evaluation never is.

    Attributes:
        crop: smallest share of a picture's area that a random crop shows; 1 shows all of it.
        aspect: largest aspect of a crop relative to a square; its inverse is the smallest.
        flip: probability of mirroring; in grounding, of pictures of which no phrase names a side.
        rand_augment: operations of RandAugment (arXiv 1909.13719) on each picture; 0 leaves it out.
        magnitude: their strength, from 0 to 10 (timm's scale, in which recipes are written).
        erasing: probability of erasing a rectangle of a picture (arXiv 1708.04896).
        mixup: parameter of the Beta distribution that two pictures are mixed by (arXiv 1710.09412); 0 mixes
            none.
        cutmix: likewise of the area that is cut out of another picture (arXiv 1905.04899). With both, each
            batch has one of the two at equal chances.
        mixing: probability that a batch is mixed at all.
        label_smoothing: share of the target that is spread over all classes.
        drop_path: drop-path rate of the vision encoder's last block; None leaves the model's.
    """

    crop: float = 1.0
    aspect: float = 1.0
    flip: float = 0.0
    rand_augment: int = 0
    magnitude: int = 9
    erasing: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0
    mixing: float = 1.0
    label_smoothing: float = 0.0
    drop_path: float | None = None

    @property
    def varies(self) -> bool:
        """Whether single pictures are changed at all."""
        changed = (self.crop < 1, self.aspect > 1, self.flip > 0, self.rand_augment > 0, self.erasing > 0)
        return any(changed)

    def __post_init__(self) -> None:
        check_ranges(self, ("flip", "erasing", "mixing", "label_smoothing"), 0, 1, "image.")
        check_range("image.crop", self.crop, 0.01, 1)
        if self.drop_path is not None:
            check_range("image.drop_path", self.drop_path, 0, 1)
        check_range("image.aspect", self.aspect, 1, 10)
        check_ranges(self, ("rand_augment", "magnitude"), 0, 10, "image.")
        check_ranges(self, ("mixup", "cutmix"), 0, 100, "image.")


UNVARIED = ImageTrainingConfig()
"""Pictures as evaluation sees them."""

LIGHT = ImageTrainingConfig(crop=0.35, aspect=4 / 3, flip=0.5)
"""Crops and mirroring: for few rows, where a mirrored picture is of the same class."""

PUBLISHED = ImageTrainingConfig(
    crop=0.08,
    aspect=4 / 3,
    flip=0.5,
    rand_augment=2,
    erasing=0.25,
    mixup=0.8,
    cutmix=1.0,
    label_smoothing=0.1,
)
"""The published fine-tuning on ImageNet."""
