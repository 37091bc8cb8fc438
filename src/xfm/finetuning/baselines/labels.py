"""Logistic regression of a task's classes, or of each of its labels, from scikit-learn."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.finetuning.baselines.linear import ITERATIONS, PENALTIES, LabelledRows, chosen
from xfm.finetuning.baselines.material import Material
from xfm.metrics.classification import Array
from xfm.tasks.class_task import ClassTask
from xfm.tasks.labelling import Labelling


@dataclass(frozen=True)
class FittedLabels:
    """A fitted model of scikit-learn.

    Attributes:
        model: gives probabilities.
        labels: what they mean.
        note: how its penalty was found, in words.
    """

    model: Any
    labels: Labelling[Any]
    note: str

    def predictions(self, features: Any) -> list[Any]:
        """Of [R, D] features, as the task's."""
        return self.labels.said(probabilities(self.model, features, len(self.labels.names)))


class EachLabel:
    """A binary model of each label; one that all rows have, or none, is as likely as that says.

    Args:
        make: gives an estimator with class weights.
        weights: [C] of the rows that have each label; None for 1.
    """

    def __init__(self, make: Any, weights: Array | None) -> None:
        self._make, self._weights = make, weights
        self._models: list[Any] = []

    def fit(self, features: Any, flags: Array) -> "EachLabel":
        """Fit [R, D] features to [R, C] labels."""
        weights = np.ones(flags.shape[1]) if self._weights is None else self._weights
        for own, weight in zip(flags.T > 0, weights.tolist(), strict=True):
            constant = own.all() or not own.any()
            estimator = self._make({False: 1.0, True: weight})
            self._models.append(float(own[0]) if constant else estimator.fit(features, own))
        return self

    def predict_proba(self, features: Any) -> NDArray[np.float64]:
        """[R, C]."""
        found = [
            np.full(features.shape[0], one) if isinstance(one, float) else one.predict_proba(features)[:, 1]
            for one in self._models
        ]
        return np.stack(found, axis=1)


def fit_labels(
    material: Material,
    train: tuple[Any, Sequence[Any]],
    valid: tuple[Any, Sequence[Any]],
    penalties: Sequence[float] = PENALTIES,
) -> FittedLabels:
    """Logistic regression of the classes, or of each label; of equally good ones the surer of the truth.

    Args:
        material: has the task, whose class weights hold here too, seed and budget.
        train: features [R, D], dense or sparse, and rows to fit.
        valid: features and rows that choose the penalty, and the threshold of several labels; maybe none.
        penalties: values of C.
    """
    from sklearn.linear_model import LogisticRegression

    task = class_task(material)
    labels, truths = task.labels, task.truths_of(valid[1])
    weights = None if task.weight is None else task.weight.numpy()
    targets = [labels.targets(task.truths_of(rows)).numpy() for rows in (train[1], valid[1])]

    def make(penalty: float) -> Any:
        def weighed(own: Any) -> Any:
            return LogisticRegression(
                C=penalty, max_iter=ITERATIONS, random_state=material.seed, class_weight=own
            )

        if targets[0].ndim == 2:
            return EachLabel(weighed, weights)
        return weighed(None if weights is None else dict(enumerate(weights.tolist())))

    def said(model: Any) -> list[Any]:
        return labels.said(probabilities(model, valid[0], len(labels.names)))

    def score(model: Any) -> tuple[float, float]:
        found = said(model)
        metrics = task.validation_metrics(valid[1], found)
        return metrics[labels.primary], labels.likelihood(truths, found)

    fit, choose = LabelledRows(train[0], targets[0]), LabelledRows(valid[0], targets[1])
    fitted = chosen(make, score, fit, choose, material.budget, penalties)
    if len(truths):
        labels = labels.settled(truths, said(fitted.model))
    return FittedLabels(fitted.model, labels, fitted.note)


def probabilities(model: Any, features: Any, classes: int) -> NDArray[np.float64]:
    """[R, C] what a model says of [R, D] features; a class that it never saw has 0."""
    own = model.predict_proba(features)
    if isinstance(model, EachLabel):
        return own
    found = np.zeros((features.shape[0], classes))
    found[:, model.classes_] = own
    return found


def class_task(material: Material) -> ClassTask[Any]:
    """The task of rows with classes or labels."""
    task = material.task
    assert isinstance(task, ClassTask)
    return task
