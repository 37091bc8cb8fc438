"""Training pictures of image classification, varied one by one and mixed as a batch, through torchvision.

torchvision draws from torch's global generator. A picture is varied under a seed of its own, so that it comes
out the same in any process and after any interruption, and the global state stays as it was; a batch is mixed
inside the training step, where the global state belongs to the run and is kept in its checkpoints.

Its RandAugment is the one that recipes of fine-tuning give strengths for. Pre-training's, in `augment`, has
the published operations, strengths and probability, none of which torchvision's can be told, and draws from
a sample's own generator.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms import InterpolationMode, v2

from xfm.config.image import ImageTrainingConfig
from xfm.data.left_out import UnreadablePicture
from xfm.data.picture_files import load_image
from xfm.data.transforms import Normalisation, normalise

LEVELS = 11  # magnitudes from 0 to 10
GREY = 128


class Variation:
    """One picture varied: a random crop, mirroring, RandAugment, normalisation, random erasing.

    Args:
        config: what to do.
        shape: height and width of what comes out.
        normalisation: the model's.
    """

    def __init__(
        self, config: ImageTrainingConfig, shape: tuple[int, int], normalisation: Normalisation
    ) -> None:
        self.shape, self._normalisation = shape, normalisation
        steps: list[Any] = [
            v2.RandomResizedCrop(
                shape,
                scale=(config.crop, 1.0),
                ratio=(1 / config.aspect, config.aspect),
                interpolation=InterpolationMode.BICUBIC,
                antialias=True,
            ),
            v2.RandomHorizontalFlip(config.flip),
        ]
        if config.rand_augment:
            steps.append(
                v2.RandAugment(
                    config.rand_augment,
                    config.magnitude,
                    LEVELS,
                    interpolation=InterpolationMode.BILINEAR,
                    fill=GREY,
                )
            )
        self._vary = v2.Compose(steps)
        # On normalised pixels, so that the rectangle is noise around the mean colour.
        noise: Any = "random"  # torchvision's annotation forgets it
        self._erase = v2.RandomErasing(config.erasing, value=noise) if config.erasing else None

    def __call__(self, picture: Tensor, seed: int) -> Tensor:
        """Vary a picture.

        Args:
            picture: [3, H, W] uint8.
            seed: all that the result depends on besides.

        Returns:
            [3, S, S] float32, normalised.
        """
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            pixels = normalise(self._vary(picture)[None], self._normalisation)[0]
            return pixels if self._erase is None else self._erase(pixels)


@dataclass(frozen=True)
class Drawn:
    """A row in a training order: which one, and the seed of its variation."""

    row: int
    seed: int


class VariedPictures(Dataset[tuple[int, Tensor, str]]):
    """Varied pictures for torch's loader, indexed by `Drawn`.

    Args:
        paths: of all rows.
        variation: what is done to them.
    """

    def __init__(self, paths: Sequence[Path], variation: Variation) -> None:
        self.paths, self.variation = paths, variation

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, drawn: Drawn) -> tuple[int, Tensor, str]:
        """The row, [3, S, S] float32, and why the picture cannot be read: then it is blank (zeros)."""
        try:
            return drawn.row, self.variation(load_image(self.paths[drawn.row]), drawn.seed), ""
        except UnreadablePicture as error:
            return drawn.row, torch.zeros(3, *self.variation.shape), str(error)


def varied_batches(
    pictures: VariedPictures,
    order: Iterator[int],
    steps: range,
    batch_size: int,
    seed: int,
    workers: int = 0,
    lost: Callable[[Path, str], object] | None = None,
) -> Iterator[tuple[list[int], Tensor]]:
    """The batches of the steps, each with its rows and pixels [B, 3, S, S].

    Args:
        pictures: the pictures.
        order: rows from the first step's on.
        steps: number of each step; the variation of a picture depends on the seed, the step and its place.
        batch_size: B.
        seed: of the variations.
        workers: processes that read and vary pictures; 0 does it in this one.
        lost: told of a picture that cannot be read, and why; it is blank in the batch. None raises.

    Raises:
        UnreadablePicture: a picture cannot be read.
    """
    drawn = ([Drawn(next(order), _seed(seed, step, n)) for n in range(batch_size)] for step in steps)
    loader: DataLoader[Any] = DataLoader(
        pictures,
        batch_sampler=drawn,  # pyright: ignore[reportArgumentType]  # the dataset has indices of its own
        num_workers=workers,
        collate_fn=_stack,
    )
    for rows, pixels, reasons in loader:
        for row, reason in zip(rows, reasons, strict=True):
            if reason and lost is None:
                raise UnreadablePicture(reason)
            if reason and lost is not None:
                lost(pictures.paths[row], reason)
        yield rows, pixels


def _stack(items: Sequence[tuple[int, Tensor, str]]) -> tuple[list[int], Tensor, list[str]]:
    rows, pixels, reasons = zip(*items, strict=True)
    return list(rows), torch.stack(pixels), list(reasons)


def _seed(*numbers: int) -> int:
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> 1)


class Mixer:
    """Mixup and cutmix of a batch; both draw from torch's global generator.

    Args:
        config: parameters of the two; a batch has one of them, or none.
        classes: number of classes C.
    """

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
        """Mix pictures of a batch with one another.

        Args:
            pixels: [B, 3, S, S] float.
            labels: [B] int64.

        Returns:
            Pixels of the same shape, and shares [B, C] float32 of each class that sum to 1.
        """
        if not self._mixes or torch.rand(()).item() >= self.mixing:
            return pixels, torch.nn.functional.one_hot(labels, self.classes).float()
        chosen = int(torch.randint(len(self._mixes), ()).item())
        return self._mixes[chosen](pixels, labels)
