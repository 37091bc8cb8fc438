"""Training pictures of image classification, varied one by one and mixed as a batch, through torchvision.

torchvision draws from torch's global generator. A picture is varied under a seed of its own, so that it comes
out the same in any process and after any interruption, and the global state stays as it was; a batch is mixed
inside the training step, where the global state belongs to the run and is kept in its checkpoints.
"""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms import InterpolationMode, v2

from xfm.config.image import ImageTrainingConfig
from xfm.data.transforms import Normalisation, normalise
from xfm.data.variation import augmentation


class Variation:
    """Augmentation of one image: random crop to `shape` (height, width), mirroring, RandAugment,
    normalisation, random erasing."""

    def __init__(
        self,
        config: ImageTrainingConfig,
        shape: tuple[int, int],
        normalisation: Normalisation,
        grey: bool = False,
    ) -> None:
        self.shape, self._normalisation = shape, normalisation
        steps: list[Any] = [
            *([v2.Grayscale(3)] if grey else []),
            v2.RandomResizedCrop(
                shape,
                scale=(config.crop, 1.0),
                ratio=(1 / config.aspect, config.aspect),
                interpolation=InterpolationMode.BICUBIC,
                antialias=True,
            ),
            v2.RandomHorizontalFlip(config.flip),
        ]
        if (augment := augmentation(config, shape)) is not None:
            steps.append(augment)
        self._vary = v2.Compose(steps)
        # On normalised pixels, so that the rectangle is noise around the mean colour.
        noise: Any = "random"  # torchvision's annotation forgets it
        self._erase = v2.RandomErasing(config.erasing, value=noise) if config.erasing else None

    def __call__(self, picture: Tensor, seed: int) -> Tensor:
        """[3, H, W] uint8 -> [3, S, S] float32, normalised; depends on the image and `seed` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pixels = normalise(self._vary(picture)[None], self._normalisation)[0]
            return pixels if self._erase is None else self._erase(pixels)


class Mixer:
    """Mixup or cutmix of a batch, or neither; both draw from torch's global generator."""

    def __init__(self, config: ImageTrainingConfig, classes: int) -> None:
        self.classes, self.mixing = classes, config.mixing
        self._mixes: list[Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]] = []
        if config.mixup:
            self._mixes.append(v2.MixUp(alpha=config.mixup, num_classes=classes))
        if config.cutmix:
            self._mixes.append(v2.CutMix(alpha=config.cutmix, num_classes=classes))

    @property
    def mixes(self) -> bool:
        """Whether it mixes anything."""
        return bool(self._mixes)

    def __call__(self, pixels: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Mix [B, 3, S, S] float images with [B] int64 labels: pixels of the same shape, and class shares [B,
        C] float32 that sum to 1."""
        if not self._mixes or torch.rand(()).item() >= self.mixing:
            return pixels, torch.nn.functional.one_hot(labels, self.classes).float()
        chosen = int(torch.randint(len(self._mixes), ()).item())
        return self._mixes[chosen](pixels, labels)
