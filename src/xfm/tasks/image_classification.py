"""The class of a picture: vision slot 0 -> linear head, or the published one (spec: fine-tuning)."""

import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn

from xfm.config.task import TaskKind
from xfm.data.classification import Mixer, Variation, VariedPictures, varied_batches
from xfm.data.schema import TensorFields
from xfm.data.tables import Field, TableRow
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import ImageClassifier
from xfm.objectives.losses import Losses
from xfm.tasks.base import Blanked, TaskSettings, classification_losses, seeded
from xfm.tasks.class_task import ClassTask
from xfm.tasks.classes import Choice
from xfm.tasks.own import Reading
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Labelled
from xfm.tasks.sampling import row_order
from xfm.tasks.splits import SplitRows


@dataclass(frozen=True)
class ImageBatch(TensorFields):
    """Pictures with classes.

    Attributes:
        pixels: [B, 3, S, S] float32, normalised.
        targets: [B] int64.
    """

    pixels: Tensor
    targets: Tensor


class ImageClassificationTask(ClassTask[Labelled, ImageBatch]):
    """Which class is the picture of?"""

    name: ClassVar[str] = TaskKind.IMAGE
    kind: ClassVar[TaskKind] = TaskKind.IMAGE
    columns: ClassVar[tuple[str, ...]] = ("image", "label")
    fields: ClassVar[tuple[Field, ...]] = (
        Field("image", "path of the picture, or the picture itself"),
        Field("label", "name of the class"),
    )
    blankable: ClassVar[frozenset[Blanked]] = frozenset({Blanked.PICTURE})

    def __init__(
        self,
        pretrained: Pretrained,
        pictures: Pictures,
        train: Sequence[Labelled],
        settings: TaskSettings,
        labels: Sequence[str],
    ) -> None:
        super().__init__(settings, train, labels)
        self.pictures, image = pictures, settings.image
        with seeded(settings.seed):
            vision = copy.deepcopy(pretrained.model.vision)  # language and fusion are left behind
            self._module = ImageClassifier(vision, len(labels), settings.image_head).to(settings.device)
        if image.drop_path is not None:
            self._module.vision.set_drop_path(image.drop_path)
        self._mix = Mixer(image, len(labels))
        self.describe(labels=self.labels.names, max_tokens=0)

    @classmethod
    def build(
        cls, pretrained: Pretrained, pictures: Pictures, data: SplitRows[Labelled], settings: TaskSettings
    ) -> Self:
        """The task on a copy of the vision encoder."""
        return cls(pretrained, pictures, data.train, settings, data.labels)

    @property
    def module(self) -> ImageClassifier:
        """What is trained."""
        return self._module

    @classmethod
    def from_row(cls, row: TableRow, reading: Reading) -> Labelled:
        """Fields `image` and `label`."""
        return Labelled(row.path("image"), row.label("label"))

    @classmethod
    def pictures_of(cls, row: Labelled) -> tuple[Path, ...]:
        """The picture."""
        return (row.image,)

    def collate(self, rows: Sequence[Labelled]) -> ImageBatch:
        """Pictures and classes of the rows."""
        targets = self.labels.indices([self.class_of(row) for row in rows])
        if self.settings.blanked is Blanked.PICTURE:
            pixels, index = self.pictures.blank(len(rows))
            return ImageBatch(pixels[index], targets)
        return ImageBatch(self.pictures.pixels([row.image for row in rows]), targets)

    def batches(self, start: int, stop: int) -> Iterator[ImageBatch]:
        """Training batches; their pictures are varied as the settings say."""
        settings = self.settings
        if not settings.image.varies or settings.blanked is Blanked.PICTURE:
            yield from super().batches(start, stop)
            return
        size, rows = settings.batch_size, self.train_rows
        order = row_order([None] * len(rows), settings.seed, start * size, 1)
        variation = Variation(settings.image, self.pictures.preprocessing)
        varied = VariedPictures([row.image for row in rows], variation)
        steps, workers = range(start, stop), settings.image.workers
        lost = None if self.pictures.lost is None else self.pictures.lose
        for chosen, pixels in varied_batches(varied, order, steps, size, settings.seed, workers, lost):
            labels = [self.class_of(rows[place]) for place in chosen]
            yield ImageBatch(pixels, self.labels.indices(labels))

    def loss(self, batch: ImageBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy, of mixed pictures with the shares of their classes."""
        image = self.settings.image
        if not (self._mix.mixes or image.label_smoothing):
            return classification_losses(self.module(batch.pixels), batch.targets)
        pixels, shares = self._mix(batch.pixels, batch.targets)
        logits = self.module(pixels).float()
        loss = nn.functional.cross_entropy(logits, shares, label_smoothing=image.label_smoothing)
        right = (logits.detach().argmax(-1) == shares.argmax(-1)).float().mean()
        return Losses(total=loss, parts={"cross_entropy": loss}, metrics={"accuracy": right})

    def predict_batch(self, batch: ImageBatch) -> list[Choice]:
        """The likeliest class of each picture."""
        return self.labels.choices(self.module(batch.pixels))
