"""Baselines of classes, labels and values: linear models from scikit-learn, and a probe."""

import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.finetuning.baselines.features import BaselinePredictions, Material, TextFeatures
from xfm.finetuning.probing import Features, fit_linear, fit_task, probe_settings
from xfm.metrics.classification import Array, pearson
from xfm.tasks.class_task import ClassTask
from xfm.tasks.labelling import OneLabel, SeveralLabels, Truth
from xfm.tasks.rows import SplitRows
from xfm.tasks.text_classification import values_of

PENALTIES = (0.1, 1.0, 10.0, 100.0)
"""Values of C that are tried; the ridge takes their inverses."""
DEFAULT = 1.0
ITERATIONS = 300
Rows = tuple[Any, NDArray[Any]]
"""Features [R, D], dense or sparse, and labels [R], or [R, C] where rows have several."""
Fitted = tuple[Callable[[Sequence[Any]], list[Any]], str]
"""What a fit says of rows, and in words how its penalty was found."""


def ridge(train: Rows, valid: Rows, budget: float) -> tuple[Any, str]:
    """Ridge regression, chosen by Pearson's correlation, and in words how its C was found; of equal ones that
    of the smaller error. Without validation rows C is `DEFAULT`."""
    from sklearn.linear_model import Ridge

    def score(model: Any) -> tuple[float, float]:
        guessed = np.asarray(model.predict(valid[0]), dtype=np.float64)
        return pearson(guessed, valid[1]), -float(np.mean((guessed - valid[1]) ** 2))

    return _chosen(lambda c: Ridge(alpha=1 / c), score, train, len(valid[1]), budget)


def _chosen(
    make: Callable[[float], Any],
    score: Callable[[Any], tuple[float, float]],
    train: Rows,
    valid: int,
    budget: float,
) -> tuple[Any, str]:
    from sklearn.exceptions import ConvergenceWarning

    began, found = time.perf_counter(), []
    tried = PENALTIES if valid else (DEFAULT,)
    with warnings.catch_warnings():
        # The iterations are the budget; the last digits of the optimum do not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for penalty in tried:  # larger ones take longer
            if found and time.perf_counter() - began > budget:
                break
            model = make(penalty).fit(*train)
            found.append((score(model) if valid else (0.0, 0.0), penalty, model))
    _, penalty, model = max(found, key=lambda one: (one[0], -one[1]))
    how = "chosen on the validation rows" if valid else "there are no validation rows to choose it by"
    untried = len(tried) - len(found)
    missing = f"; {untried} of {len(tried)} not tried for time" if untried else ""
    return model, f"C = {penalty:g}, {how}{missing}"


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


def fit_labels(material: Material, features: Callable[[Sequence[Any]], Any]) -> Fitted:
    """`fit_rows` to the classes or labels of the task, with their weights."""
    task = class_task(material)
    weights = None if task.weight is None else task.weight.numpy()
    return fit_rows(task.labels, task.truths_of, material, features, weights)


def fit_rows(
    labels: OneLabel | SeveralLabels,
    truths_of: Callable[[Sequence[Any]], list[Truth]],
    material: Material,
    features: Callable[[Sequence[Any]], Any],
    weights: Array | None = None,
) -> Fitted:
    """Logistic regression of classes or of each label on features [R, D] of rows, dense or sparse: what it
    says of rows, and in words how its penalty was found. Validation rows choose penalty and threshold."""
    from sklearn.linear_model import LogisticRegression

    valid, seed = material.valid, material.task.settings.seed
    truths, targets = truths_of(valid), labels.targets(truths_of(material.train)).numpy()
    seen = features(valid) if len(valid) else None

    def make(penalty: float) -> Any:
        def weighed(own: Any) -> Any:
            return LogisticRegression(C=penalty, max_iter=ITERATIONS, random_state=seed, class_weight=own)

        if targets.ndim == 2:
            return _BinaryModels(weighed, weights)
        return weighed(None if weights is None else dict(enumerate(weights.tolist())))

    def said(model: Any, given: Any) -> list[Any]:
        return labels.said(_probabilities(model, given, len(labels.names)))

    def score(model: Any) -> tuple[float, float]:
        found = said(model, seen)
        own = labels.settled(truths, found)
        return own.metrics(truths, own.anew(found))[labels.primary], labels.likelihood(truths, found)

    train = features(material.train), targets
    model, note = _chosen(make, score, train, len(valid), material.budget)
    if len(truths):
        labels = labels.settled(truths, said(model, seen))
    return lambda rows: said(model, features(rows)), note


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


def linear_texts(material: Material) -> BaselinePredictions:
    """TF-IDF with logistic regression, or with ridge regression for values."""
    task = material.task
    classes = len(task.labels.names) if isinstance(task, ClassTask) else 1
    words = TextFeatures([task.texts_of(row) for row in material.train], classes)

    def features(rows: Sequence[Any]) -> Any:
        return words([task.texts_of(row) for row in rows])

    if isinstance(task, ClassTask):
        answer, how = fit_labels(material, features)
    else:
        splits = (material.train, material.valid)
        train, valid = ((features(rows) if len(rows) else None, values_of(rows)) for rows in splits)
        model, how = ridge(train, valid, material.budget)
        answer = lambda rows: model.predict(features(rows)).tolist()  # noqa: E731
    return material.predicted(answer, how, words.cut)


def probe(material: Material) -> BaselinePredictions:
    """Of texts, or of pictures with texts: fitted as `--preset fast` does it."""
    task = material.task
    labels = task.labels.names if isinstance(task, ClassTask) else ()
    data = SplitRows(material.train, labels=labels)
    own = type(task)(material.pretrained, material.pictures, data, probe_settings(task.settings))
    fit = fit_task(own, material.valid)
    return material.predicted(own.predict, fit.note)


def probe_of(material: Material, values: Array) -> BaselinePredictions:
    """Of the pictures' frozen features, which other baselines need, too, or of their pixels [I, D]."""
    task = class_task(material)
    labels, valid = task.labels, material.valid

    def features(rows: Sequence[Any]) -> Features:
        return rows, material.rows(rows, values) if len(rows) else values[:0]

    fit = fit_linear(task, features(material.train), features(valid))

    def answer(rows: Sequence[Any]) -> list[Any]:
        return [*labels.anew(fit.predictions(task, features(rows)[1]))]

    if len(valid):
        labels = labels.settled(task.truths_of(valid), answer(valid))
    return material.predicted(answer, fit.note)


def both(material: Material) -> BaselinePredictions:
    """TF-IDF of the text beside frozen features of the pictures, with logistic regression."""
    from scipy.sparse import csr_array, hstack
    from sklearn.preprocessing import StandardScaler

    task, seen = class_task(material), material.seen
    scaler = StandardScaler().fit(material.rows(material.train, seen.frozen).astype(np.float64))
    words = TextFeatures([task.texts_of(row) for row in material.train], len(task.labels.names))

    def features(rows: Sequence[Any]) -> Any:
        dense: Any = scaler.transform(material.rows(rows, seen.frozen))
        dense /= np.sqrt(dense.shape[1])  # as long as a row of TF-IDF
        return hstack([words([task.texts_of(row) for row in rows]), csr_array(dense)], format="csr")

    answer, how = fit_labels(material, features)
    return material.predicted(answer, how, words.cut)
