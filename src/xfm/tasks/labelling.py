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
    """Names (unknown behind), rows with each [C], precision, recall, F1 [C, 3]; counts [C, C], true by
    predicted, of one class a row."""

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    scores: Floats
    matrix: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Labelling(Generic[Said]):
    """Labels in the order of a head's outputs; `OneLabel` and `SeveralLabels` have targets, losses, answers
    by probabilities [R, C], guesses and metrics."""

    names: tuple[str, ...]
    kind: ClassVar[LabelKind]
    primary: ClassVar[str]

    def weight(self, asked: ClassWeights, truths: Sequence[Truth]) -> Tensor | None:
        """[C] float32 weights of labels in the loss, or None; balanced ones follow from the training rows.
        UserError: an unknown label."""
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
    """Cross-entropy of logits [R, C] with classes [R] int64 or shares [R, C]; weighted by class (`weight`
    [C]) as torch does, the logged accuracy too."""
    logits = logits.float()
    loss = nn.functional.cross_entropy(logits, labels, weight, label_smoothing=label_smoothing)
    classes = labels if labels.ndim == 1 else labels.argmax(-1)
    right = (logits.detach().argmax(-1) == classes).float()
    own = None if weight is None or labels.ndim == 2 else weight[classes]
    accuracy = right.mean() if own is None else (right * own).sum() / own.sum()
    return Losses(total=loss, terms={"cross_entropy": loss}, metrics={"accuracy": accuracy})


def label_losses(logits: Tensor, labels: Tensor, weight: Tensor | None = None) -> Losses:
    """Binary cross-entropy of logits [R, C] with labels [R, C]; `weight` [C] is torch's `pos_weight`."""
    loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), labels, pos_weight=weight)
    exact = ((logits.detach() > 0) == (labels > 0)).all(-1).float().mean()
    return Losses(total=loss, terms={"binary_cross_entropy": loss}, metrics={"exact_match": exact})


def regression_losses(values: Tensor, targets: Tensor) -> Losses:
    """Mean squared error of values [R, 1] and targets [R]."""
    loss = nn.functional.mse_loss(values.float()[:, 0], targets.float())
    return Losses(total=loss, terms={"mse": loss})
