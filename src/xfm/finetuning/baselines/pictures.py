"""Pictures: the probe of them alone beside texts, neighbours, raw pixels; and both with the texts."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from xfm.finetuning.baselines.labels import class_task, fit_labels
from xfm.finetuning.baselines.material import BaselinePredictions, Material, both_notes
from xfm.finetuning.baselines.texts import TextFeatures
from xfm.finetuning.neighbours import neighbour_shares
from xfm.metrics.classification import Array

PROBE_PENALTIES = (0.001, 0.01, 0.1, 1.0)
"""Dense standardised features need a stronger penalty than TF-IDF."""
NEIGHBOURS = (1, 5, 10, 20)


def probe(material: Material) -> BaselinePredictions:
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
