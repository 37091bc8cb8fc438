"""How a task is trained: what all tasks are told."""

from dataclasses import dataclass
from enum import StrEnum

from xfm.config.image import UNVARIED, ImageTrainingConfig
from xfm.config.labels import ClassWeights, LabelKind
from xfm.config.task import HeadKind, ImageHead
from xfm.config.training import Precision


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
        image: how training pictures are varied, and those of image classification mixed.
        image_head: the head of image classification.
        prompt: words that every caption begins with.
        head: what stands on the encoders of the other tasks with classes or values.
        label_kind: whether a row is of one class, or has several labels.
        threshold: probability from which one of several labels is given; 0 chooses it on the validation rows.
        class_weights: what each class weighs in the loss: see `FinetuneConfig`.
        seed: seed of the head and of the order of the rows.
        workers: processes that read rows ahead of the model; 0 reads them in its own.
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
    prompt: str = ""
    head: HeadKind = HeadKind.OWN
    label_kind: LabelKind = LabelKind.ONE
    threshold: float = 0.0
    class_weights: ClassWeights = ""
    seed: int = 0
    workers: int = 0
    precision: Precision = Precision.AUTO
    device: str = "cpu"
