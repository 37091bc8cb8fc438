"""Metrics of predicted classes by name."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfm.metrics.classification import (
    FEWEST_FOR_TOP,
    area_under_roc,
    confusion_matrix,
    listed_accuracy,
    macro_f1,
    matthews,
    share,
)


@dataclass(frozen=True)
class Choice:
    """A predicted class.

    Attributes:
        label: the likeliest class.
        probabilities: of every class, in the order of the labels.
        best: the likeliest classes, `TOP` of them at most.
    """

    label: str
    probabilities: tuple[float, ...]
    best: tuple[str, ...] = ()


def with_unknown(names: Sequence[str], truth: Sequence[str]) -> tuple[str, ...]:
    """The names, and after them the true classes that the model does not know."""
    return (*names, *sorted(set(truth) - set(names)))


def class_metrics(
    truth: Sequence[str], predicted: Sequence[Choice], names: Sequence[str]
) -> dict[str, float]:
    """Accuracy, Matthews' correlation, F1 as the mean over the classes that occur; of two classes AUROC.

    A class that the model does not know is always missed. Of `FEWEST_FOR_TOP` classes or more top-5 accuracy.
    AUROC is that of the second class's probability, ties counted half; 0.5 where a class is absent.
    """
    labels, everything = [choice.label for choice in predicted], with_unknown(names, truth)
    numbers = {
        name: number for number, name in enumerate(everything)
    }  # texts would all be as wide as the longest
    guessed, true = (np.array([numbers[label] for label in own]) for own in (labels, truth))
    scores = {
        "accuracy": share(guessed == true),
        "f1_macro": macro_f1(confusion_matrix(truth, labels, everything)),
        "mcc": matthews(guessed, true),
    }
    if len(names) >= FEWEST_FOR_TOP:
        scores["top5"] = listed_accuracy(truth, [one.best for one in predicted])
    if len(names) == 2:
        second = np.array([label == names[1] for label in truth])
        scores["auroc"] = area_under_roc(np.array([one.probabilities[1] for one in predicted]), second)
    return scores


def class_hits(truth: Sequence[str], predicted: Sequence[Choice]) -> NDArray[np.float64]:
    """[R] 1 where the class is right, else 0: their mean is the accuracy."""
    return np.array([float(true == one.label) for true, one in zip(truth, predicted, strict=True)])
