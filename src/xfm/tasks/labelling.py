"""What the outputs of a head with classes mean: one class a row, or several labels.

Targets, loss, predictions, metrics and guesses of a task with classes follow from it.
"""

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Generic, Self, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from xfm.config.labels import BALANCED, HALF, ClassWeights, LabelKind, require_labels
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
from xfm.metrics.labels import (
    Flags,
    LabelSet,
    best_threshold,
    exact_matches,
    label_flags,
    label_metrics,
    precision_recall_f1_of_labels,
)
from xfm.models.heads import class_probabilities
from xfm.objectives.losses import Losses
from xfm.tasks.rows import Case

Truth = tuple[str, ...]
"""The labels of a row: its one class, or where there are several any number of them."""
LabelTable = tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.float64], NDArray[np.int64] | None]
"""Names (unknown behind), rows with each [C], precision, recall, F1 [C, 3]; counts [C, C], true by predicted,
of one class a row."""
Said = TypeVar("Said")
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Labelling(Generic[Said]):
    """Labels in the order of a head's outputs; `OneLabel` and `SeveralLabels` have targets, losses, answers
    by probabilities [R, C], guesses and metrics. `threshold` is the probability from which a label is given
    (0: the likeliest is), and `fits` says whether rows that were not learned from choose it."""

    names: tuple[str, ...]
    kind: ClassVar[LabelKind]
    primary: ClassVar[str]
    threshold: float = field(default=0.0, kw_only=True)
    fits: bool = field(default=False, kw_only=True)

    def anew(self, said: Sequence[Said]) -> Any:
        """The predictions at this threshold; without one the same."""
        return said

    def settled(self, truths: Sequence[Truth], said: Sequence[Said]) -> Self:
        """As rows that were not learned from would have it: without a threshold the same."""
        return self

    def weight(self, asked: ClassWeights, truths: Sequence[Truth]) -> Tensor | None:
        """[C] float32 weights of labels in the loss, or None; balanced ones follow from the training rows.
        UserError: an unknown label."""
        require_labels(asked, self.names)
        if isinstance(asked, dict):
            return torch.tensor([asked.get(name, 1.0) for name in self.names])
        if asked != BALANCED:
            return None
        counts, rows, found = self.counts(truths), len(truths), [1.0] * len(self.names)
        for place, name in enumerate(self.names):
            count = counts[name]
            if count and self.kind is LabelKind.ONE:  # all classes weigh the same; 1 in the mean over rows
                found[place] = rows / (len(self.names) * count)
            elif 0 < count < rows:  # the rows without a label weigh the same as those that have it
                found[place] = (rows - count) / count
        return torch.tensor(found)

    @staticmethod
    def weighed(targets: Tensor, weight: Tensor) -> float:
        """What torch divides the weighted losses by: the weights of the rows' classes; the rows, where these
        have shares of them or any number of labels."""
        return float(weight[targets].sum()) if targets.ndim == 1 else len(targets)

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

    def targets(self, truths: Sequence[Truth]) -> Tensor:
        """[R] int64; unknown names are class 0 (rows of an unlabelled test are only predicted)."""
        places = {name: place for place, name in enumerate(self.names)}
        return torch.tensor([places.get(label, 0) for (label,) in truths])

    def losses(
        self, logits: Tensor, targets: Tensor, weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Losses:
        """Cross-entropy."""
        return classification_losses(logits, targets, smoothing, weight)

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

    def case(self, truth: Truth, said: ClassPrediction) -> Case:
        """The wrong classes that the model was surest of are the worst."""
        (label,) = truth
        right, badness = said.label == label, 1 - self.probability(said, label)
        return Case(label, said.label, right, badness, confidence=max(said.probabilities))

    def table(self, truths: Sequence[Truth], said: Sequence[ClassPrediction]) -> LabelTable:
        """With the confusion matrix."""
        names = with_unknown(self.names, _only(truths))
        matrix = confusion_matrix(_only(truths), [one.label for one in said], names)
        return names, matrix.sum(axis=1), precision_recall_f1(matrix), matrix


@dataclass(frozen=True)
class SeveralLabels(Labelling[LabelSet]):
    """Any number of labels a row: those of at least the probability `threshold`, which validation rows choose
    by micro-F1 where it `fits`."""

    kind: ClassVar[LabelKind] = LabelKind.SEVERAL
    primary: ClassVar[str] = "f1_micro"
    threshold: float = field(default=HALF, kw_only=True)
    fits: bool = field(default=True, kw_only=True)

    def targets(self, truths: Sequence[Truth]) -> Tensor:
        """[R, C] float32, 1 for the labels that a row has; a label that there is not is none."""
        return torch.from_numpy(label_flags(truths, self.names)).float()

    def losses(
        self, logits: Tensor, targets: Tensor, weight: Tensor | None = None, smoothing: float = 0.0
    ) -> Losses:
        """Binary cross-entropy of each label; `weight` [C] is torch's `pos_weight`."""
        loss = nn.functional.binary_cross_entropy_with_logits(logits.float(), targets, pos_weight=weight)
        exact = ((logits.detach() > 0) == (targets > 0)).all(-1).float().mean()
        return Losses(total=loss, terms={"binary_cross_entropy": loss}, metrics={"exact_match": exact})

    def said(self, probabilities: Array) -> list[LabelSet]:
        names = np.array(self.names, dtype=object)
        given = np.asarray(probabilities) >= self.threshold
        rows = zip(given, probabilities.tolist(), strict=True)
        return [LabelSet(tuple(names[own]), tuple(row)) for own, row in rows]

    def anew(self, said: Sequence[LabelSet]) -> Any:
        return self.said(np.array([one.probabilities for one in said])) if said else []

    def certain(self, truth: Truth) -> LabelSet:
        """A guess that leaves no doubt."""
        own = [name for name in self.names if name in truth]
        return LabelSet(tuple(own), tuple(float(name in own) for name in self.names))

    def guess(self, rows: int, rng: np.random.Generator) -> list[LabelSet]:
        return replace(self, threshold=HALF).said(rng.random((rows, len(self.names))))

    def usual(self, truths: Sequence[Truth]) -> dict[str, LabelSet]:
        """The most frequent set, and as many of the most frequent labels as have the best micro-F1."""
        flags = label_flags(truths, self.names)
        order = np.argsort(-flags.sum(axis=0), kind="stable")
        right = flags.sum(axis=0)[order].cumsum()
        f1 = 2 * right / (len(flags) * np.arange(1, len(order) + 1) + flags.sum())
        best = tuple(self.names[place] for place in order[: int(np.argmax(f1)) + 1])
        return {
            "most frequent set of labels": self.certain(most_frequent_label(truths)),
            "the most frequent labels": self.certain(best),
        }

    def settled(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> Self:
        """With the threshold of the best micro-F1, unless it was given."""
        if not (self.fits and said):
            return self
        scores = np.array([one.probabilities for one in said])
        return replace(self, threshold=best_threshold(scores, label_flags(truths, self.names), HALF))

    def metrics(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> dict[str, float]:
        truth, given, scores, _ = self._arrays(truths, said)
        return label_metrics(truth, given, scores)

    def row_scores(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> dict[str, Floats]:
        truth, given, _, _ = self._arrays(truths, said)
        return {"exact_match": exact_matches(truth, given)}

    def known_chance(self) -> dict[str, float]:
        return {"exact_match": 0.5 ** len(self.names)}

    def likelihood(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> float:
        """Of every label of every row."""
        truth, _, scores, _ = self._arrays(truths, said)
        return float(np.log(np.maximum(np.where(truth, scores, 1 - scores), 1e-12)).mean())

    def sure_and_right(
        self, truths: Sequence[Truth], said: Sequence[LabelSet]
    ) -> tuple[Floats, NDArray[np.bool_]]:
        """[R * C] the probability of the likelier of there and not there, and whether that is right."""
        there = np.array([one.probabilities for one in said]).ravel()
        return np.maximum(there, 1 - there), (there >= HALF) == self.flags(truths).ravel()

    def case(self, truth: Truth, said: LabelSet) -> Case:
        """Right where all labels are; the worse, the farther the probabilities are from them."""
        own = self.certain(truth).probabilities
        far = sum(abs(one - other) for one, other in zip(own, said.probabilities, strict=True))
        far += sum(name not in self.names for name in truth)
        true, given = (", ".join(labels) or "no label" for labels in (truth, said.labels))
        return Case(true, given, {*truth} == {*said.labels}, far)

    def table(self, truths: Sequence[Truth], said: Sequence[LabelSet]) -> LabelTable:
        """Each label by itself."""
        truth, given, _, names = self._arrays(truths, said)
        return names, truth.sum(axis=0), precision_recall_f1_of_labels(truth, given), None

    def _arrays(
        self, truths: Sequence[Truth], said: Sequence[LabelSet]
    ) -> tuple[Flags, Flags, Floats, tuple[str, ...]]:
        names = with_unknown(self.names, [name for own in truths for name in own])
        scores = np.zeros((len(said), len(names)))
        scores[:, : len(self.names)] = [one.probabilities for one in said]
        return (label_flags(truths, names), label_flags([one.labels for one in said], names), scores, names)


def _only(truths: Sequence[Truth]) -> list[str]:
    return [label for (label,) in truths]


def class_names(labels: Sequence[str]) -> tuple[str, ...]:
    """The distinct names in a fixed order: numbers by their value, then the rest by the alphabet."""
    distinct = set(labels)

    def order(name: str) -> tuple[int, int, str]:
        digits = name.removeprefix("-")
        number = digits.isascii() and digits.isdigit() and len(name) < 20
        return (0, int(name), name) if number else (1, 0, name)

    return tuple(sorted(distinct, key=order))


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
