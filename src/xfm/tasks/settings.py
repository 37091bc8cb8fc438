"""How a task is trained: what all tasks are told."""

from dataclasses import dataclass
from enum import StrEnum

from xfm.config.image import UNVARIED, ImageTrainingConfig
from xfm.config.labels import ClassWeights, LabelKind
from xfm.config.task import HeadKind, ImageHead
from xfm.config.training import Precision


class Blanked(StrEnum):
    """Input hidden from the model: a baseline is the same fine-tuning without it (`first_text`: hypothesis
    only)."""

    NOTHING = "nothing"
    PICTURE = "picture"
    TEXT = "text"
    FIRST_TEXT = "first text"


@dataclass(frozen=True)
class TaskSettings:
    """Settings that every task shares, as of `FinetuneConfig`; `rows_per_picture` rows of a picture follow
    one another, so that it is encoded once; `threshold` 0 is chosen on validation rows."""

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
