"""Baselines of classes, labels and values: TF-IDF, frozen features, neighbours and pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xfm.config.finetune import FinetuneConfig
from xfm.finetuning.baselines.features import BaselinePredictions, Material, TextFeatures
from xfm.finetuning.baselines.linear import class_task, fit_labels, ridge
from xfm.finetuning.frozen_features import neighbour_shares
from xfm.finetuning.probing import Features, fit_linear, fit_task, probe_settings
from xfm.metrics.classification import Array
from xfm.tasks.class_task import ClassTask
from xfm.tasks.rows import SplitRows

PROBE_PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Dense standardised features need a stronger penalty than TF-IDF."""
NEIGHBOURS = (1, 5, 10, 20)


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
        train, valid = (
            (features(rows) if len(rows) else None, np.array([float(row.label) for row in rows]))
            for rows in (material.train, material.valid)
        )
        model, how = ridge(train, valid, material.budget)
        answer = lambda rows: model.predict(features(rows)).tolist()  # noqa: E731
    return material.predicted(answer, how, words.cut)


def probe(material: Material) -> BaselinePredictions:
    """Of texts, or of pictures with texts: fitted as `--preset fast` does it."""
    task = material.task
    labels = task.labels.names if isinstance(task, ClassTask) else ()
    data = SplitRows(material.train, labels=labels)
    own = type(task)(material.pretrained, material.pictures, data, probe_settings(task.settings))
    fit = fit_task(own, material.valid, FinetuneConfig())
    return material.predicted(own.predict, fit.note)


def probe_of_pictures(material: Material) -> BaselinePredictions:
    """Of pictures alone, whose features other baselines need, too."""
    seen, task = material.seen, class_task(material)
    labels, valid = task.labels, material.valid

    def features(rows: Sequence[Any]) -> Features:
        shown = [task.pictures_of(row) for row in rows]
        return Features(rows, seen.rows(shown, seen.frozen) if shown else seen.frozen[:0])

    fit = fit_linear(task, features(material.train), features(valid))

    def answer(rows: Sequence[Any]) -> list[Any]:
        return [*labels.anew(fit.predictions(task, features(rows).values))]

    if len(valid):
        labels = labels.settled(task.truths_of(valid), answer(valid))
    return material.predicted(answer, fit.note, shared=seen.seconds)


def linear_pictures(material: Material) -> BaselinePredictions:
    """Logistic regression on frozen features."""
    return _linear(material, material.seen.frozen)


def pixels(material: Material) -> BaselinePredictions:
    """Logistic regression on the pictures at 16 x 16."""
    return _linear(material, material.seen.pixels)


def neighbours(material: Material) -> BaselinePredictions:
    """The nearest training pictures by the cosine of frozen features; how many is chosen like C."""
    task, seen = class_task(material), material.seen
    labels, valid = task.labels, material.valid
    known, truths = _rows(material, material.train, seen.frozen), task.truths_of(material.train)

    def answer(rows: Sequence[Any], k: int) -> list[Any]:
        return labels.said(
            neighbour_shares(known, labels.flags(truths), _rows(material, rows, seen.frozen), k)
        )

    k, how = NEIGHBOURS[1], ""
    if len(valid):
        right = {
            size: task.validation_metrics(valid, answer(valid, size))[labels.primary] for size in NEIGHBOURS
        }
        k, how = max(right, key=lambda size: (right[size], -size)), ", chosen on the validation rows"
        labels = labels.settled(task.truths_of(valid), answer(valid, k))
    return material.predicted(lambda rows: answer(rows, k), f"k = {k}{how}", shared=seen.seconds)


def both(material: Material) -> BaselinePredictions:
    """TF-IDF of the text beside frozen features of the pictures, with logistic regression."""
    from scipy.sparse import csr_array, hstack

    task, seen = class_task(material), material.seen
    scale = _scaler(_rows(material, material.train, seen.frozen))
    words = TextFeatures([task.texts_of(row) for row in material.train], len(task.labels.names))

    def features(rows: Sequence[Any]) -> Any:
        dense = scale(_rows(material, rows, seen.frozen))
        dense /= np.sqrt(dense.shape[1])  # as long as a row of TF-IDF
        return hstack([words([task.texts_of(row) for row in rows]), csr_array(dense)], format="csr")

    answer, how = fit_labels(material, features)
    return material.predicted(answer, how, words.cut, shared=seen.seconds)


def _linear(material: Material, values: Array) -> BaselinePredictions:
    scale = _scaler(_rows(material, material.train, values))
    answer, how = fit_labels(material, lambda rows: scale(_rows(material, rows, values)), PROBE_PENALTIES)
    return material.predicted(answer, how, shared=material.seen.seconds)


def _rows(material: Material, rows: Sequence[Any], values: Array) -> Array:
    return material.seen.rows([material.task.pictures_of(row) for row in rows], values)


def _scaler(train: Array) -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler().fit(train.astype(np.float64)).transform
