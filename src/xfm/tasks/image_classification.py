"""The class of a picture: vision slot 0 -> linear head, or the published one (spec: fine-tuning)."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor

from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.data.tables import TableRow
from xfm.data.variation import Mixup, Variation
from xfm.models.folder import Pretrained
from xfm.models.task_models import ImageClassifier
from xfm.objectives.losses import Losses
from xfm.tasks.base import HiddenInput, TaskSettings
from xfm.tasks.class_task import ClassBatch, ClassTask
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import CellMeaning, Labelled, SplitRows
from xfm.tasks.sampling import SampledRows


class ImageClassificationTask(ClassTask[Labelled]):
    """Which class is the picture of?"""

    spec: ClassVar[TaskSpec] = IMAGE_CLASSIFICATION
    module: ImageClassifier
    hides: ClassVar[Mapping[HiddenInput, str]] = {HiddenInput.PICTURE: ""}

    def __init__(
        self, pretrained: Pretrained, pictures: TaskImages, data: SplitRows[Labelled], settings: TaskSettings
    ) -> None:
        super().__init__(pretrained, pictures, data, settings)
        if settings.image.drop_path is not None:
            self.module.vision.set_drop_path(settings.image.drop_path)
        model = pictures.preprocessing
        self._vary = Variation(settings.image, model.shape, (model.mean, model.std), model.grey)
        self._mix = Mixup(settings.image, len(self.labels.names))
        self.smoothing = settings.image.label_smoothing

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> Labelled:
        return Labelled(row.path("image"), meaning.label(row))

    def shown(self, rows: Sequence[Labelled]) -> tuple[Tensor, Tensor | None]:
        """A picture a row [R, 3, S, S], and no index: training varies each anew."""
        if self.settings.blanked is HiddenInput.PICTURE:
            pixels, index = self.pictures.blank(len(rows))
            return pixels[index], None
        return self.pictures.pixels([row.image for row in rows]), None

    def training_batch(self, drawn: SampledRows[Labelled]) -> ClassBatch:
        """Their pictures are varied as the settings say."""
        settings = self.settings
        if not settings.image.varies or settings.blanked is HiddenInput.PICTURE:
            return super().training_batch(drawn)
        pixels = [
            self._vary(self.pictures.uint8(row.image, whole=True), drawn.seed_of(place))
            for place, row in enumerate(drawn.rows)
        ]
        return ClassBatch(self.labels.targets(self.truths_of(drawn.rows)), torch.stack(pixels))

    def loss(self, batch: ClassBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy, of mixed pictures with the shares of their classes."""
        if not self._mix.mixes:
            return super().loss(batch, generator)
        assert batch.pixels is not None
        pixels, shares = self._mix(batch.pixels, batch.targets)
        return self.losses(self.module(pixels), shares)

    def count(self, batch: ClassBatch, rows: Sequence[Labelled]) -> float:
        return len(rows) if self._mix.mixes else super().count(batch, rows)
