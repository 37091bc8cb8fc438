"""What a fine-tuned model adds to the pre-trained one. Nothing here imports torch."""

from dataclasses import dataclass
from enum import StrEnum

from xfm.config.encoders import MAX_ROWS
from xfm.config.labels import HALF, LabelKind
from xfm.config.task_spec import TaskSpec
from xfm.config.tasks import task_spec
from xfm.config.typed import check_limits, limited, refuse


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
        max_words: longest question or sentence in words, where the fine-tuning cut it there; else 0.
        prompt: words that every caption begins with, which a decoder is given; empty where there are none.
        dimensions: sizes to which its vectors may be cut, since they were trained so.
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
    max_tokens: int = limited(0, 0)
    max_words: int = limited(0, 0)
    texts: int = limited(0, 0, 2)
    prompt: str = ""
    dimensions: tuple[int, ...] = ()
    head: HeadKind = HeadKind.OWN
    label_kind: LabelKind = LabelKind.ONE
    threshold: float = limited(HALF, 0, 1)
    temperature: float = limited(1.0, 0.001, 1000)

    def __post_init__(self) -> None:
        check_limits(self)
        count, classes = len(self.labels), self.classes
        bad = [one for one in self.labels if not one.strip() or any("\ud800" <= c <= "\udfff" for c in one)]
        twice = any(len(set(names)) < len(names) for names in (self.labels, self.answers))
        refuse(
            {
                f"{count} labels do not suit {classes} classes": count and count != classes,
                "labels and answers must differ from one another": twice,
                f"the label {next(iter(bad), '')!r} is blank, or not Unicode": bad,
                f"{classes} classes do not suit {self.kind}": self.spec.classes != (classes > 0),
                f"several labels a row do not suit {classes} classes": (
                    self.label_kind is LabelKind.SEVERAL and classes < 2
                ),
            }
        )

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
