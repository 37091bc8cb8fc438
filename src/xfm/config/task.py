"""What a fine-tuned model adds to the pre-trained one. Nothing here imports torch."""

from dataclasses import dataclass
from enum import StrEnum

from xfm.config.encoders import MAX_ROWS
from xfm.config.labels import HALF, LabelKind
from xfm.config.ranges import check_limits, limited
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_spec


class ImageHead(StrEnum):
    """The head of image classification: one linear layer on slot 0, or the published five-layer MLP."""

    LINEAR = "linear"
    PUBLISHED = "published"


class HeadKind(StrEnum):
    """What stands on the encoders of a task with classes or values.

    own: the head of the task, which a fine-tuning trains.
    probe: one linear layer, fitted at once to all that the frozen encoders say of a row.
    """

    OWN = "own"
    PROBE = "probe"


@dataclass(frozen=True)
class TaskConfig:
    """A task model.

    Attributes:
        kind: name of the task (`xfm.config.tasks`).
        classes: outputs of the head; 1 is a regression, 0 belongs to tasks without classes.
        image_head: the head of image classification.
        labels: names of the classes in the order of the outputs; empty where nobody named them.
        answers: the normalised answers that questions are ranked over; empty where they are written freely.
        max_tokens: longest text in tokens that the fine-tuning saw; 0 where it is not known.
        prompt: words that every caption begins with, which a decoder is given; empty where there are none.
        texts: how many texts rows had, where that may be one or two; 0 where it is not known.
        head: what stands on the encoders of a task with classes or values; see also `image_head`.
        label_kind: whether a row is of one of the classes, or has any number of them as labels.
        threshold: probability from which a label is given, where rows may have several.
        temperature: by which the head's last layer is divided already; 1 where none was fitted.
    """

    kind: str
    classes: int = limited(0, 0, MAX_ROWS)
    image_head: ImageHead = ImageHead.LINEAR
    labels: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    max_tokens: int = 0
    texts: int = limited(0, 0, 2)
    prompt: str = ""
    head: HeadKind = HeadKind.OWN
    label_kind: LabelKind = LabelKind.ONE
    threshold: float = limited(HALF, 0, 1)
    temperature: float = limited(1.0, 0.001, 1000)

    def __post_init__(self) -> None:
        if self.labels and len(self.labels) != self.classes:
            raise ValueError(f"{len(self.labels)} labels do not suit {self.classes} classes")
        if len(set(self.labels)) < len(self.labels) or len(set(self.answers)) < len(self.answers):
            raise ValueError("labels and answers must differ from one another")
        if bad := [
            one for one in self.labels if not one.strip() or any("\ud800" <= c <= "\udfff" for c in one)
        ]:
            raise ValueError(f"the label {bad[0]!r} is blank, or not Unicode")
        if self.max_tokens < 0:
            raise ValueError("max_tokens cannot be negative")
        check_limits(self)
        if self.spec.classes != (self.classes > 0):
            raise ValueError(f"{self.classes} classes do not suit {self.kind}")
        if self.label_kind is LabelKind.SEVERAL and self.classes < 2:
            raise ValueError(f"several labels a row do not suit {self.classes} classes")

    @property
    def spec(self) -> TaskSpec:
        """The task; raises UserError where nobody has registered it."""
        return task_spec(self.kind)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of a head's outputs, made up where nobody gave them."""
        if self.labels:
            return self.labels
        return ("value",) if self.classes == 1 else tuple(f"LABEL_{place}" for place in range(self.classes))
