"""What the outputs of a head with classes mean: one class a row, or several labels.

Targets, loss, predictions, metrics and guesses of a task with classes follow from its `Labelling`.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfm.config.labels import BALANCED, ClassWeights, LabelKind, require_labels
from xfm.metrics.classification import Array
from xfm.metrics.labels import Flags, label_flags
from xfm.modeling.heads import class_probabilities
from xfm.objectives.losses import Losses

Truth = tuple[str, ...]
"""The labels of a row: its one class, or where there are several any number of them."""
Said = TypeVar("Said")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Verdict:
    """A row and its prediction, for people to look at: see `xfm.tasks.rows.Case`."""

    truth: str
    predicted: str
    right: bool
    badness: float
    confidence: float | None = None


@dataclass(frozen=True)
class LabelTable:
    """How each label fared on some rows.

    Attributes:
        names: the labels, and after them those that the model does not know.
        rows: [C] how many rows have each.
        scores: [C, 3] precision, recall and F1.
        matrix: [C, C] counts, true class by predicted class; None where a row has no one class.
    """

    names: tuple[str, ...]
    rows: NDArray[np.int64]
    scores: Floats
    matrix: NDArray[np.int64] | None = None


@dataclass(frozen=True)
class Labelling(ABC, Generic[Said]):
    """The names of the labels in the order of a head's outputs, and what a row says of them.

    Attributes:
        names: of the labels.
        kind: how many a row has.
        primary: the metric that chooses between models.
    """

    names: tuple[str, ...]
    kind: ClassVar[LabelKind]
    primary: ClassVar[str]

    @property
    def threshold(self) -> float:
        """The probability from which a label is given; 0 where the likeliest one is."""
        return 0.0

    @property
    def settles(self) -> bool:
        """Whether rows that were not learned from choose something, see `settled`."""
        return False

    # ------------------------------------------------------------ learning
    @abstractmethod
    def targets(self, truths: Sequence[Truth]) -> Tensor:
        """What the loss takes: [R] int64 places, or [R, C] float32, 1 for the labels that a row has."""

    @abstractmethod
    def losses(
        self, logits: Tensor, targets: Tensor, weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Losses:
        """The loss of [R, C] logits; `weight` [C] is what each label weighs."""

    @abstractmethod
    def weighed(self, targets: Tensor, weight: Tensor) -> float:
        """Of how much the loss of some rows is the mean, where labels have weights."""

    def weight(self, asked: ClassWeights, truths: Sequence[Truth]) -> Tensor | None:
        """[C] float32, what each label weighs in the loss; None where nobody asked for weights.

        Args:
            asked: see `xfm.config.finetune.FinetuneConfig.class_weights`.
            truths: of the training rows, from which balanced weights follow.

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

    def flags(self, truths: Sequence[Truth]) -> Flags:
        """[R, C] whether a row has each label."""
        return label_flags(truths, self.names)

    @staticmethod
    def counts(truths: Sequence[Truth]) -> Mapping[str, int]:
        """How many rows have each label."""
        return Counter(name for own in truths for name in own)

    # ------------------------------------------------------------ predicting
    def predictions(self, logits: Tensor) -> list[Said]:
        """[R, C] logits -> what is said of each row."""
        return self.said(class_probabilities(self.kind, logits).cpu().numpy())

    @abstractmethod
    def said(self, probabilities: Array) -> list[Said]:
        """[R, C] probabilities -> what is said of each row."""

    def anew(self, said: Sequence[Said]) -> Sequence[Said]:
        """The same predictions, as this labelling has them."""
        return said

    @abstractmethod
    def certain(self, truth: Truth) -> Said:
        """A guess that leaves no doubt."""

    @abstractmethod
    def guess(self, rows: int, rng: np.random.Generator) -> list[Said]:
        """Guesses at random."""

    @abstractmethod
    def usual(self, truths: Sequence[Truth]) -> dict[str, Said]:
        """What the training rows suggest whatever the input, by name."""

    def settled(self, truths: Sequence[Truth], said: Sequence[Said]) -> Self:
        """The same, with what rows choose that were not learned from (a threshold)."""
        return self

    def cooled(self, temperature: float) -> Self:
        """The same of logits that are divided by a temperature."""
        return self

    # ------------------------------------------------------------ scoring
    @abstractmethod
    def metrics(self, truths: Sequence[Truth], said: Sequence[Said]) -> dict[str, float]:
        """Metrics by name; a label that the model does not know is always missed."""

    @abstractmethod
    def row_scores(self, truths: Sequence[Truth], said: Sequence[Said]) -> dict[str, Floats]:
        """[R] what each row adds to a metric that is a mean of rows, by its name."""

    @abstractmethod
    def known_chance(self) -> dict[str, float]:
        """What guesses at random are expected to score, where a formula says so."""

    @abstractmethod
    def likelihood(self, truths: Sequence[Truth], said: Sequence[Said]) -> float:
        """The mean logarithm of the probability of the truth."""

    @abstractmethod
    def sure_and_right(
        self, truths: Sequence[Truth], said: Sequence[Said]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """[R] how sure a model is of each row, or [R * C] of each label of each, and whether it is right."""

    @abstractmethod
    def verdict(self, truth: Truth, said: Said) -> Verdict:
        """A row and its prediction in words."""

    @abstractmethod
    def table(self, truths: Sequence[Truth], said: Sequence[Said]) -> LabelTable:
        """How each label fared."""


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
