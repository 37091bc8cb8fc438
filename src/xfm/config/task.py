"""What a fine-tuned model adds to the pre-trained one. Nothing here imports torch."""

from dataclasses import dataclass
from enum import StrEnum

from xfm.config.model import MAX_ROWS
from xfm.config.ranges import check_range


class TaskKind(StrEnum):
    """The tasks that models are fine-tuned for (spec: fine-tuning)."""

    TEXT = "text-classification"
    IMAGE = "image-classification"
    PAIR = "image-text-classification"
    REASONING = "reasoning"
    RETRIEVAL = "retrieval"
    GROUNDING = "grounding"
    VQA = "vqa"


class ImageHead(StrEnum):
    """The head of image classification: one linear layer on slot 0, or the published five-layer MLP."""

    LINEAR = "linear"
    PUBLISHED = "published"


CLASSIFIERS = frozenset({TaskKind.TEXT, TaskKind.IMAGE, TaskKind.PAIR, TaskKind.REASONING})
"""The tasks whose head has classes."""


@dataclass(frozen=True)
class TaskConfig:
    """A task model.

    Attributes:
        kind: the task.
        classes: outputs of the head; 1 is a regression, 0 belongs to tasks without classes.
        image_head: the head of image classification.
    """

    kind: TaskKind
    classes: int = 0
    image_head: ImageHead = ImageHead.LINEAR

    def __post_init__(self) -> None:
        if (self.kind in CLASSIFIERS) != (self.classes > 0):
            raise ValueError(f"{self.classes} classes do not suit {self.kind}")
        check_range("classes", self.classes, 0, MAX_ROWS)
