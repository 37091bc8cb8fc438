"""Baselines of classes, labels and values: TF-IDF, frozen features, neighbours and pixels."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xfm.config.finetune import FinetuneConfig
from xfm.finetuning.baselines.features import BaselinePredictions, Material, TextFeatures, both_notes
from xfm.finetuning.baselines.linear import LabelledRows, class_task, fit_labels, ridge
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
    task, splits = material.task, material.splits
    classes = len(task.labels.names) if isinstance(task, ClassTask) else 1
    features = TextFeatures([task.texts_of(row) for row in material.train], classes)
    seen = {
        name: features([task.texts_of(row) for row in rows]) for name, rows in splits.items() if len(rows)
    }
    if isinstance(task, ClassTask):
        own = fit_labels(material, (seen["train"], material.train), (seen.get("valid"), material.valid))
        found, how = material.predicted(lambda name, rows: own.predictions(seen[name])), own.note
    else:
        values = (np.array([float(row.label) for row in splits[name]]) for name in ("train", "valid"))
        train, valid = map(LabelledRows, (seen["train"], seen.get("valid")), values)
        fitted = ridge(train, valid, material.budget)
        found = material.predicted(lambda name, rows: fitted.model.predict(seen[name]).tolist())
        how = fitted.note
    return BaselinePredictions(found, both_notes(material.note, features.cut), how)


def probe(material: Material) -> BaselinePredictions:
    """Of texts, or of pictures with texts: fitted as `--preset fast` does it."""
    task = material.task
    labels = task.labels.names if isinstance(task, ClassTask) else ()
    data = SplitRows(material.train, labels=labels)
    own = type(task)(material.pretrained, material.pictures, data, probe_settings(task.settings))
    fit = fit_task(own, material.valid, FinetuneConfig(), budget=material.budget)
    return BaselinePredictions(
        material.predicted(lambda name, rows: own.predict(rows)), material.note, fit.note
    )


def probe_of_pictures(material: Material) -> BaselinePredictions:
    """Of pictures alone, whose features other baselines need, too."""
    seen, task = material.seen, class_task(material)
    labels, valid = task.labels, material.valid

    def features(rows: Sequence[Any]) -> Features:
        shown = [task.pictures_of(row) for row in rows]
        return Features(rows, seen.rows(shown, seen.frozen) if shown else seen.frozen[:0])

    fit = fit_linear(task, features(seen.train), features(valid))

    def answer(rows: Sequence[Any]) -> Sequence[Any]:
        return labels.anew(fit.predictions(task, features(rows).values))

    if len(valid):
        labels = labels.settled(task.truths_of(valid), answer(valid))
    found = material.predicted(lambda name, rows: [*answer(rows)])
    return BaselinePredictions(found, seen.note, fit.note, seen.seconds)


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
    known, truths = _rows(material, seen.train, seen.frozen), task.truths_of(seen.train)

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
    found = material.predicted(lambda name, rows: answer(rows, k))
    return BaselinePredictions(found, seen.note, f"k = {k}{how}", seen.seconds)


def both(material: Material) -> BaselinePredictions:
    """TF-IDF of the text beside frozen features of the pictures, with logistic regression."""
    from scipy.sparse import csr_array, hstack

    task, seen = class_task(material), material.seen
    scale = _scaler(_rows(material, seen.train, seen.frozen))
    words = TextFeatures([task.texts_of(row) for row in seen.train], len(task.labels.names))

    def features(rows: Sequence[Any]) -> Any:
        dense = scale(_rows(material, rows, seen.frozen))
        dense /= np.sqrt(dense.shape[1])  # as long as a row of TF-IDF
        return hstack([words([task.texts_of(row) for row in rows]), csr_array(dense)], format="csr")

    own = features(material.valid) if len(material.valid) else None
    fitted = fit_labels(material, (features(seen.train), seen.train), (own, material.valid))
    found = material.predicted(lambda name, rows: fitted.predictions(features(rows)))
    return BaselinePredictions(found, both_notes(seen.note, words.cut), fitted.note, seen.seconds)


def _linear(material: Material, values: Array) -> BaselinePredictions:
    seen = material.seen
    raw = _rows(material, seen.train, values)
    scale = _scaler(raw)
    own = scale(_rows(material, material.valid, values)) if len(material.valid) else None
    fitted = fit_labels(material, (scale(raw), seen.train), (own, material.valid), PROBE_PENALTIES)

    def answer(name: str, rows: Sequence[Any]) -> list[Any]:
        return fitted.predictions(scale(_rows(material, rows, values)))

    return BaselinePredictions(material.predicted(answer), seen.note, fitted.note, seen.seconds)


def _rows(material: Material, rows: Sequence[Any], values: Array) -> Array:
    return material.seen.rows([material.task.pictures_of(row) for row in rows], values)


def _scaler(train: Array) -> Any:
    from sklearn.preprocessing import StandardScaler

    return StandardScaler().fit(train.astype(np.float64)).transform
