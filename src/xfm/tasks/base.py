"""What a task is: data columns, a batch, a loss, a prediction and a primary metric."""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import torch
from torch import Tensor, nn

from xfm.config.image import UNVARIED, ImageTrainingConfig
from xfm.config.task import ImageHead
from xfm.config.training import Precision
from xfm.data.schema import TensorFields
from xfm.modeling.precision import autocast
from xfm.objectives.losses import Losses
from xfm.tasks.sampling import row_order

Row = TypeVar("Row")
BatchT = TypeVar("BatchT", bound=TensorFields)
Prediction = TypeVar("Prediction")


class Blanked(StrEnum):
    """What a task hides from its model: a baseline is the same fine-tuning with one input blanked.

    nothing: the task itself.
    picture: every picture is one blank picture of the mean colour.
    text: every text is empty.
    first_text: of two texts only the second is seen (hypothesis only).
    """

    NOTHING = "nothing"
    PICTURE = "picture"
    TEXT = "text"
    FIRST_TEXT = "first text"


@dataclass(frozen=True)
class TaskSettings:
    """Settings that every task shares.

    Attributes:
        blanked: what is hidden from the model.
        batch_size: rows per batch.
        rows_per_picture: most rows of one picture in a row of the training order; the picture is encoded
            once for all of them.
        max_tokens: longest text in tokens, special tokens included.
        label_smoothing: of captions.
        image: how training pictures of image classification are varied and mixed, and those of grounding
            mirrored.
        image_head: the head of image classification.
        seed: seed of the head and of the order of the rows.
        precision: arithmetic of predictions.
        device: where the model runs.
    """

    blanked: Blanked = Blanked.NOTHING
    batch_size: int = 64
    rows_per_picture: int = 4
    max_tokens: int = 64
    label_smoothing: float = 0.1
    image: ImageTrainingConfig = UNVARIED
    image_head: ImageHead = ImageHead.LINEAR
    seed: int = 0
    precision: Precision = Precision.AUTO
    device: str = "cpu"


class Task(ABC, Generic[Row, BatchT, Prediction]):
    """A model with a task's head, and how rows become batches, losses, predictions and metrics.

    A task is one file: it says which columns its JSON lines have, which module is trained and how. It owns a
    copy of the pre-trained model, so that several tasks can start from the same one.

    Attributes:
        name: the task's name.
        columns: fields that each line of its data files must have.
        primary: the metric that chooses between models; greater is better.
        blankable: the inputs that a baseline may blank.
    """

    name: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]
    primary: ClassVar[str]
    blankable: ClassVar[frozenset[Blanked]]

    def __init__(self, settings: TaskSettings, train: Sequence[Row]) -> None:
        if settings.blanked not in self.blankable | {Blanked.NOTHING}:
            raise ValueError(f"{self.name} has no {settings.blanked} that could be blanked")
        self.settings = settings
        self.train_rows = list(train)

    @property
    @abstractmethod
    def module(self) -> nn.Module:
        """Everything that is trained or used in prediction, a copy of the pre-trained model among it."""

    @classmethod
    @abstractmethod
    def read(cls, path: Path) -> list[Row]:
        """Rows of a JSON-lines file with the task's columns.

        Raises:
            UserError: the file is missing, or a row lacks a column or holds a wrong value.
        """

    @abstractmethod
    def collate(self, rows: Sequence[Row]) -> BatchT:
        """One batch of the rows, in their order, on the CPU."""

    @abstractmethod
    def loss(self, batch: BatchT, generator: torch.Generator) -> Losses:
        """Losses of a batch that lies where the module does. Nothing is detached."""

    @abstractmethod
    def predict_batch(self, batch: BatchT) -> list[Prediction]:
        """Predictions of a batch; the module is in evaluation mode and gradients are off."""

    @abstractmethod
    def metrics(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics by name, the primary one among them, as fractions from 0 to 1."""

    def group(self, row: Row) -> Hashable:
        """Rows with equal groups share a picture, so they are put into the same batch; None: no sharing."""
        return None

    def batches(self, start: int, stop: int) -> Iterator[BatchT]:
        """Training batches of the steps `start` (included) to `stop` (excluded).

        A batch depends on the seed and the step only, so that training can continue anywhere.
        """
        for rows in self.drawn(start, stop):
            yield self.collate(rows)

    def drawn(self, start: int, stop: int) -> Iterator[list[Row]]:
        """Training rows of the steps `start` (included) to `stop` (excluded)."""
        size = self.settings.batch_size
        order = row_order(
            [self.group(row) for row in self.train_rows],
            self.settings.seed,
            start * size,
            self.settings.rows_per_picture,
        )
        for _ in range(start, stop):
            yield [self.train_rows[next(order)] for _ in range(size)]

    @torch.inference_mode()
    def predict(self, rows: Sequence[Row], batch_size: int = 256) -> list[Prediction]:
        """Predictions of any number of rows, in their order."""
        was_training = self.module.training
        self.module.eval()
        predictions: list[Prediction] = []
        try:
            for first in range(0, len(rows), batch_size):
                batch = self.collate(rows[first : first + batch_size]).to(self.settings.device)
                with autocast(self.settings.precision, self.settings.device):
                    predictions += self.predict_batch(batch)
        finally:
            self.module.train(was_training)
        return predictions

    def is_new(self, name: str) -> bool:
        """Whether the module's parameter of that name was not pre-trained and learns at the larger rate."""
        return name.startswith("head.")


def classification_losses(logits: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Losses:
    """Cross-entropy of a classification head.

    Args:
        logits: [R, C] float.
        labels: [R] int64 in [0, C).
        label_smoothing: share of the target that is spread over all classes.
    """
    loss = nn.functional.cross_entropy(logits.float(), labels, label_smoothing=label_smoothing)
    right = (logits.detach().argmax(-1) == labels).float().mean()
    return Losses(total=loss, parts={"cross_entropy": loss}, metrics={"accuracy": right})


def regression_losses(values: Tensor, targets: Tensor) -> Losses:
    """Mean squared error of a head with one output.

    Args:
        values: [R, 1] float.
        targets: [R] float.
    """
    loss = nn.functional.mse_loss(values.float()[:, 0], targets.float())
    return Losses(total=loss, parts={"mse": loss})


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Draws inside (a head's initialisation) depend on `seed` alone and leave torch's state as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
