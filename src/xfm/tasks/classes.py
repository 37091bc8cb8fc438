"""Classes by name: what the outputs of a head mean where a row is of one class."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.labels import LabelKind
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
from xfm.objectives.losses import Losses
from xfm.tasks.labelling import Floats, Labelling, LabelTable, Truth, Verdict, classification_losses

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
        """The likeliest class of each row."""
        best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
        return [
            ClassPrediction(self.names[order[0]], tuple(row), tuple(self.names[place] for place in order))
            for row, order in zip(probabilities.tolist(), best.tolist(), strict=True)
        ]

    def certain(self, truth: Truth) -> ClassPrediction:
        """A guess that leaves no doubt."""
        return ClassPrediction(truth[0], tuple(float(name == truth[0]) for name in self.names), truth)

    def guess(self, rows: int, rng: np.random.Generator) -> list[ClassPrediction]:
        """Classes drawn uniformly; the next ones of the list are second to fifth."""
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
        """Accuracy, mean F1 and more, see `class_metrics`."""
        return class_metrics(_only(truths), said, self.names)

    def row_scores(self, truths: Sequence[Truth], said: Sequence[ClassPrediction]) -> dict[str, Floats]:
        """Whether each class is right."""
        return {"accuracy": class_hits(_only(truths), said)}

    def known_chance(self) -> dict[str, float]:
        """The accuracies."""
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
