"""What the outputs of a head with classes mean: one class a row, or several labels.

Targets, loss, predictions, metrics and guesses of a task with classes follow from it.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Generic, NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfm.config.labels import BALANCED, ClassWeights, LabelKind, require_labels
from xfm.core.errors import UserError, amount
from xfm.metrics.classification import (
    TOP,
    Array,
    ClassPrediction,
    chance_of_classes,
    class_hits,
    class_metrics,
    confusion_matrix,
    precision_recall_f1,
    with_unknown,
)
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


L = TypeVar("L", str, Truth)


@dataclass(frozen=True)
class OneLabel(Labelling[ClassPrediction]):
    """A row is of one of the classes."""

    kind: ClassVar[LabelKind] = LabelKind.ONE
    primary: ClassVar[str] = "accuracy"
    threshold: ClassVar[float] = 0.0
    settles: ClassVar[bool] = False

    def anew(self, said: Sequence[ClassPrediction]) -> Any:
        """The same predictions: nothing but the likeliest class is chosen."""
        return said

    def settled(self, truths: Sequence[Truth], said: Sequence[ClassPrediction]) -> "OneLabel":
        """The same: rows that were not learned from choose nothing."""
        return self

    def cooled(self, temperature: float) -> "OneLabel":
        """The same: the likeliest class stays the likeliest."""
        return self

    def targets(self, truths: Sequence[Truth]) -> Tensor:
        """[R] int64; unknown names are class 0 (rows of an unlabelled test are only predicted)."""
        places = {name: place for place, name in enumerate(self.names)}
        return torch.tensor([places.get(label, 0) for (label,) in truths])

    def losses(
        self, logits: Tensor, targets: Tensor, weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Losses:
        """Cross-entropy."""
        return classification_losses(logits, targets, smoothing, weight)

    def weighed(self, targets: Tensor, weight: Tensor) -> float:
        """The weights of the rows' classes, whose mean torch takes; of shares the rows."""
        return float(weight[targets].sum()) if targets.ndim == 1 else len(targets)

    def balance(self, count: int, rows: int) -> float:
        """In inverse proportion to the rows of a class; 1 in the mean over the rows."""
        return rows / (len(self.names) * count)

    def said(self, probabilities: Array) -> list[ClassPrediction]:
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        return [
            ClassPrediction(self.names[order[0]], tuple(row), tuple(self.names[place] for place in order))
            for row, order in zip(probabilities.tolist(), best.tolist(), strict=True)
        ]

    def certain(self, truth: Truth) -> ClassPrediction:
        """A guess that leaves no doubt."""
        return ClassPrediction(truth[0], tuple(float(name == truth[0]) for name in self.names), truth)

    def guess(self, rows: int, rng: np.random.Generator) -> list[ClassPrediction]:
        count = len(self.names)
        return [
            replace(
                self.certain((self.names[place],)),
                best=tuple(self.names[(place + more) % count] for more in range(min(TOP, count))),
            )
            for place in rng.integers(count, size=rows).tolist()
        ]

    def usual(self, truths: Sequence[Truth]) -> dict[str, ClassPrediction]:
        """The most frequent class."""
        return {"most frequent class": self.certain(most_frequent_label(truths))}

    def metrics(self, truths: Sequence[Truth], said: Sequence[ClassPrediction]) -> dict[str, float]:
        return class_metrics(_only(truths), said, self.names)

    def row_scores(self, truths: Sequence[Truth], said: Sequence[ClassPrediction]) -> dict[str, Floats]:
        return {"accuracy": class_hits(_only(truths), said)}

    def known_chance(self) -> dict[str, float]:
        return chance_of_classes(len(self.names))

    def probability(self, choice: ClassPrediction, label: str) -> float:
        """The probability that a choice gives to a class, 0 to a class that there is not."""
        return choice.probabilities[self.names.index(label)] if label in self.names else 0.0

    def likelihood(self, truths: Sequence[Truth], said: Sequence[ClassPrediction]) -> float:
        """Of the rows' classes."""
        own = [self.probability(one, label) for (label,), one in zip(truths, said, strict=True)]
        return float(np.log(np.maximum(own, 1e-12)).mean())

    def sure_and_right(
        self, truths: Sequence[Truth], said: Sequence[ClassPrediction]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """[R] the probability of each row's class, and whether it is right."""
        right = class_hits(_only(truths), said) > 0
        return np.array([max(one.probabilities) for one in said]), right

    def verdict(self, truth: Truth, said: ClassPrediction) -> Verdict:
        """The wrong classes that the model was surest of are the worst."""
        (label,) = truth
        badness = 1 - self.probability(said, label)
        return Verdict(label, said.label, said.label == label, badness, max(said.probabilities))

    def table(self, truths: Sequence[Truth], said: Sequence[ClassPrediction]) -> LabelTable:
        """With the confusion matrix."""
        names = with_unknown(self.names, _only(truths))
        matrix = confusion_matrix(_only(truths), [one.label for one in said], names)
        return LabelTable(names, matrix.sum(axis=1), precision_recall_f1(matrix), matrix)


def _only(truths: Sequence[Truth]) -> list[str]:
    return [label for (label,) in truths]


def class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The distinct names in a fixed order: numbers by their value, then the rest by the alphabet."""
    distinct = set(labels)
    return tuple(
        sorted(distinct, key=lambda name: (0, int(name), name) if _is_number(name) else (1, 0, name))
    )


def _is_number(name: str) -> bool:
    return name.removeprefix("-").isascii() and name.removeprefix("-").isdigit() and len(name) < 20


def most_frequent_label(labels: Sequence[L]) -> L:
    """The most frequent label, or set of labels; of equally frequent ones the first by the alphabet."""
    return min(Counter(labels).items(), key=lambda item: (-item[1], item[0]))[0]


def require_classes(names: Sequence[str], where: str = "the training rows") -> None:
    """Refuse fewer than two classes; `where` names their place."""
    if len(names) < 2:
        raise UserError(
            f"{where} have {amount(len(names), 'class', 'classes')}"
            f"{': ' + names[0] if names else ''}; at least two are needed to tell them apart"
        )
