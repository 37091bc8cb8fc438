"""Linear models from scikit-learn, of classes, labels and values; validation rows choose the penalty."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.finetuning.baselines.features import Material
from xfm.metrics.classification import Array, pearson
from xfm.tasks.class_task import ClassTask
from xfm.tasks.labelling import OneLabel, SeveralLabels

PENALTIES = (0.1, 1.0, 10.0, 100.0)
"""Values of C that are tried; the ridge takes their inverses."""
DEFAULT = 1.0
ITERATIONS = 300


@dataclass(frozen=True)
class LabelledRows:
    """Features [R, D], dense or sparse, and labels [R], or [R, C] where rows have several."""

    features: Any
    labels: NDArray[Any]


@dataclass(frozen=True)
class FittedModel:
    """A fitted model of scikit-learn, and how its penalty was found, in words."""

    model: Any
    note: str


def logistic(
    train: LabelledRows, valid: LabelledRows, seed: int, budget: float, penalties: Sequence[float] = PENALTIES
) -> FittedModel:
    """Multinomial logistic regression; of equally accurate ones the more certain. Without validation rows C
    is `DEFAULT`."""
    from sklearn.linear_model import LogisticRegression

    def make(penalty: float) -> Any:
        return LogisticRegression(C=penalty, max_iter=ITERATIONS, random_state=seed)

    def score(model: Any) -> tuple[float, float]:
        probabilities = model.predict_proba(valid.features)
        places = {label: place for place, label in enumerate(model.classes_.tolist())}
        own = [
            row[places[label]] if label in places else 0.0
            for row, label in zip(probabilities, valid.labels.tolist(), strict=True)
        ]
        right = model.classes_[probabilities.argmax(axis=1)] == valid.labels
        return float(right.mean()), float(np.log(np.maximum(own, 1e-12)).mean())

    return _chosen(make, score, train, valid, budget, penalties)


def ridge(train: LabelledRows, valid: LabelledRows, budget: float) -> FittedModel:
    """Ridge regression, chosen by Pearson's correlation; arguments as in `logistic`."""
    from sklearn.linear_model import Ridge

    def make(penalty: float) -> Any:
        return Ridge(alpha=1 / penalty)

    def score(model: Any) -> tuple[float, float]:
        guessed = np.asarray(model.predict(valid.features), dtype=np.float64)
        return pearson(guessed, valid.labels), -float(np.mean((guessed - valid.labels) ** 2))

    return _chosen(make, score, train, valid, budget, PENALTIES)


def _chosen(
    make: Callable[[float], Any],
    score: Callable[[Any], tuple[float, float]],
    train: LabelledRows,
    valid: LabelledRows,
    budget: float,
    penalties: Sequence[float],
) -> FittedModel:
    from sklearn.exceptions import ConvergenceWarning

    choosing = bool(len(valid.labels))
    began, found = time.perf_counter(), []
    tried = penalties if choosing else (DEFAULT,)
    with warnings.catch_warnings():
        # The iterations are the budget; the last digits of the optimum do not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for penalty in tried:  # larger ones take longer
            if found and time.perf_counter() - began > budget:
                break
            model = make(penalty).fit(train.features, train.labels)
            found.append((score(model) if choosing else (0.0, 0.0), penalty, model))
    _, penalty, model = max(found, key=lambda one: (one[0], -one[1]))
    how = "chosen on the validation rows" if choosing else "there are no validation rows to choose it by"
    untried = len(tried) - len(found)
    missing = f"; {untried} of {len(tried)} not tried for time" if untried else ""
    return FittedModel(model, f"C = {penalty:g}, {how}{missing}")


@dataclass(frozen=True)
class FittedLabels:
    """A fitted model of scikit-learn, what its outputs mean, and how its penalty was found, in words."""

    model: Any
    labels: OneLabel | SeveralLabels
    note: str

    def predictions(self, features: Any) -> list[Any]:
        """Of [R, D] features, as the task's."""
        return self.labels.said(_probabilities(self.model, features, len(self.labels.names)))


class _BinaryModels:
    """A binary model a label, of [C] weights; one that all rows have, or none, is as likely as that."""

    def __init__(self, make: Any, weights: Array | None) -> None:
        self._make, self._weights = make, weights
        self._models: list[Any] = []

    def fit(self, features: Any, flags: Array) -> "_BinaryModels":
        weights = np.ones(flags.shape[1]) if self._weights is None else self._weights
        for own, weight in zip(flags.T > 0, weights.tolist(), strict=True):
            constant = own.all() or not own.any()
            estimator = self._make({False: 1.0, True: weight})
            self._models.append(float(own[0]) if constant else estimator.fit(features, own))
        return self

    def predict_proba(self, features: Any) -> NDArray[np.float64]:
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
    """Logistic regression of classes or of each label on features [R, D], dense or sparse. Validation rows
    choose penalty and threshold."""
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
            return _BinaryModels(weighed, weights)
        return weighed(None if weights is None else dict(enumerate(weights.tolist())))

    def said(model: Any) -> list[Any]:
        return labels.said(_probabilities(model, valid[0], len(labels.names)))

    def score(model: Any) -> tuple[float, float]:
        found = said(model)
        metrics = task.validation_metrics(valid[1], found)
        return metrics[labels.primary], labels.likelihood(truths, found)

    fit, choose = LabelledRows(train[0], targets[0]), LabelledRows(valid[0], targets[1])
    fitted = _chosen(make, score, fit, choose, material.budget, penalties)
    if len(truths):
        labels = labels.settled(truths, said(fitted.model))
    return FittedLabels(fitted.model, labels, fitted.note)


def _probabilities(model: Any, features: Any, classes: int) -> NDArray[np.float64]:
    own = model.predict_proba(features)
    if isinstance(model, _BinaryModels):
        return own
    found = np.zeros((features.shape[0], classes))
    found[:, model.classes_] = own
    return found


def class_task(material: Material) -> ClassTask[Any]:
    """The task of rows with classes or labels."""
    task = material.task
    assert isinstance(task, ClassTask)
    return task
