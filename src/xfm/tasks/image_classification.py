"""The class of a picture: vision slot 0 -> linear head, or the published one (spec: fine-tuning)."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import ClassVar

import torch
from torch import Tensor, nn

from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.data.classification import Mixer, Variation, VariedPictures, varied_batches
from xfm.data.tables import TableRow
from xfm.data.transforms import Normalisation
from xfm.modeling.folder import Pretrained
from xfm.modeling.task_models import ImageClassifier
from xfm.objectives.losses import Losses
from xfm.tasks.cases import CellMeaning
from xfm.tasks.class_task import ClassBatch, ClassTask
from xfm.tasks.lazy_rows import ImagesOf
from xfm.tasks.pictures import Pictures
from xfm.tasks.rows import Labelled
from xfm.tasks.sampling import row_order
from xfm.tasks.settings import Blanked, TaskSettings
from xfm.tasks.splits import SplitRows


class ImageClassificationTask(ClassTask[Labelled]):
    """Which class is the picture of?"""

    spec: ClassVar[TaskSpec] = IMAGE_CLASSIFICATION
    module: ImageClassifier
    hides: ClassVar[Mapping[Blanked, str]] = MappingProxyType({Blanked.PICTURE: ""})

    def __init__(
        self, pretrained: Pretrained, pictures: Pictures, data: SplitRows[Labelled], settings: TaskSettings
    ) -> None:
        super().__init__(pretrained, pictures, data, settings)
        if settings.image.drop_path is not None:
            self.module.vision.set_drop_path(settings.image.drop_path)
        self._mix = Mixer(settings.image, len(self.labels.names))

    @classmethod
    def from_row(cls, row: TableRow, meaning: CellMeaning) -> Labelled:
        """Fields `image` and `label`."""
        return Labelled(row.path("image"), row.label("label"))

    def shown(self, rows: Sequence[Labelled]) -> tuple[Tensor, Tensor | None]:
        """A picture a row [R, 3, S, S], and no index: training varies each anew."""
        if self.settings.blanked is Blanked.PICTURE:
            pixels, index = self.pictures.blank(len(rows))
            return pixels[index], None
        return self.pictures.pixels([row.image for row in rows]), None

    def batches(self, start: int, stop: int) -> Iterator[ClassBatch]:
        """Training batches; their pictures are varied as the settings say."""
        settings = self.settings
        if not settings.image.varies or settings.blanked is Blanked.PICTURE:
            yield from super().batches(start, stop)
            return
        size, rows = settings.batch_size, self.train_rows
        order = row_order([None] * len(rows), settings.seed, start * size, 1)
        model = self.pictures.preprocessing
        variation = Variation(settings.image, model.shape, Normalisation(model.mean, model.std))
        varied = VariedPictures(ImagesOf(rows), variation)
        steps, workers = range(start, stop), settings.image.workers
        lost = None if self.pictures.lost is None else self.pictures.lose
        for chosen, pixels in varied_batches(varied, order, steps, size, settings.seed, workers, lost):
            labels = [self.class_of(rows[place]) for place in chosen]
            yield ClassBatch(self.labels.indices(labels), pixels)

    def loss(self, batch: ClassBatch, generator: torch.Generator) -> Losses:
        """Cross-entropy, of mixed pictures with the shares of their classes."""
        image = self.settings.image
        if not (self._mix.mixes or image.label_smoothing):
            return super().loss(batch, generator)
        assert batch.pixels is not None
        pixels, shares = self._mix(batch.pixels, batch.targets)
        logits = self.module(pixels).float()
        loss = nn.functional.cross_entropy(logits, shares, label_smoothing=image.label_smoothing)
        right = (logits.detach().argmax(-1) == shares.argmax(-1)).float().mean()
        return Losses(total=loss, parts={"cross_entropy": loss}, metrics={"accuracy": right})
