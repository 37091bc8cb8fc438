"""What the outputs of a head with classes mean: one class a row, or several labels.

Targets, loss, predictions, metrics and guesses of a task with classes follow from it.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfm.config.labels import BALANCED, ClassWeights, LabelKind, require_labels
from xfm.metrics.classification import Array
from xfm.metrics.labels import Flags, label_flags
from xfm.models.heads import class_probabilities
from xfm.objectives.losses import Losses

Truth = tuple[str, ...]
"""The labels of a row: its one class, or where there are several any number of them."""
Said = TypeVar("Said")
Floats = NDArray[np.float64]


class Verdict(NamedTuple):
    """A row and its prediction, for people to look at: see `xfm.tasks.rows.Case`."""

    truth: str
    predicted: str
    right: bool
    badness: float
    confidence: float | None = None


class LabelTable(NamedTuple):
    """How each label fared: names (unknown ones behind), how many rows have each [C], precision, recall and
    F1 [C, 3], and, where a row has one class, counts [C, C], true class by predicted class."""

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    scores: Floats
    matrix: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Labelling(Generic[Said]):
    """The names of the labels in the order of a head's outputs, and what a row says of them.

    Beside what is here, each kind of labels (`OneLabel`, `SeveralLabels`) has the same methods: targets and
    losses, what is said by probabilities [R, C] and by guesses, and metrics. Weights are [C] float32.
    """

    names: tuple[str, ...]
    kind: ClassVar[LabelKind]
    primary: ClassVar[str]

    def weight(self, asked: ClassWeights, truths: Sequence[Truth]) -> Tensor | None:
        """[C] float32, what each label weighs in the loss; None where nobody asked for weights.

        Balanced ones follow from the training rows.

        Raises:
            UserError: a weight is of a label that there is not.
        """
        require_labels(asked, self.names)
        if isinstance(asked, dict):
            return torch.tensor([asked.get(name, 1.0) for name in self.names])
        if asked != BALANCED:
            return None
        counts = self.counts(truths)
        found = [self.balance(counts[name], len(truths)) if counts[name] else 1.0 for name in self.names]
        return torch.tensor(found)

    @abstractmethod
    def balance(self, count: int, rows: int) -> float:
        """The balanced weight of a label that `count` of the rows have, one at least."""

    @abstractmethod
    def said(self, probabilities: Array) -> list[Said]:
        """[R, C] probabilities -> what is said of each row."""

    def flags(self, truths: Sequence[Truth]) -> Flags:
        """[R, C] whether a row has each label."""
        return label_flags(truths, self.names)

    @staticmethod
    def counts(truths: Sequence[Truth]) -> Mapping[str, int]:
        """How many rows have each label."""
        return Counter(name for own in truths for name in own)

    def predictions(self, logits: Tensor) -> list[Said]:
        """[R, C] logits -> what is said of each row."""
        return self.said(class_probabilities(self.kind, logits).cpu().numpy())


# ---------------------------------------------------------------- losses
def classification_losses(
    logits: Tensor, labels: Tensor, label_smoothing: float = 0.0, weight: Tensor | None = None
) -> Losses:
    """Cross-entropy of a classification head, as torch has it.

    With weights it is the mean weighted by the classes of the rows; of shares it is the mean over the rows,
    as torch's is. The accuracy in the log has the same weights.

    Args:
        logits: [R, C] float.
        labels: [R] int64 in [0, C), or [R, C] float shares of the classes.
        label_smoothing: share of the target that is spread over all classes.
        weight: [C] float of the classes; None weighs them alike.
    """
    logits = logits.float()
    loss = nn.functional.cross_entropy(logits, labels, weight, label_smoothing=label_smoothing)
    classes = labels if labels.ndim == 1 else labels.argmax(-1)
    right = (logits.detach().argmax(-1) == classes).float()
    own = None if weight is None or labels.ndim == 2 else weight[classes]
    accuracy = right.mean() if own is None else (right * own).sum() / own.sum()
    return Losses(total=loss, terms={"cross_entropy": loss}, metrics={"accuracy": accuracy})


def label_losses(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Losses:
    """Binary cross-entropy of a head with several labels a row: the mean over rows and labels.

    Args:
        logits: [R, C] float.
        labels: [R, C] float, 0 or 1.
        weight: [C] float, what the rows that have a label count for in it (torch's `pos_weight`).
    """
    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels, pos_weight=weight)
    exact = ((logits.detach() > 0) == (labels > 0)).all(-1).float().mean()
    return Losses(total=loss, terms={"binary_cross_entropy": loss}, metrics={"exact_match": exact})


def regression_losses(values: Tensor, targets: Tensor) -> Losses:
    """Mean squared error of a head with one output.

    Args:
        values: [R, 1] float.
        targets: [R] float.
    """
    loss = nn.functional.mse_loss(values.float()[:, 0], targets.float())
    return Losses(total=loss, terms={"mse": loss})
