"""Scores of classes that were ranked on frozen features, beside chance and baseline."""

import numpy as np

from xfm.config.tasks import IMAGE_CLASSIFICATION
from xfm.metrics.classification import (
    FEWEST_FOR_TOP,
    TOP,
    Array,
    chance_of_classes,
    in_top_k,
    majority_accuracy,
    mean_class_accuracy,
    most_frequent,
)
from xfm.metrics.intervals import bootstrap
from xfm.reports.results import PartResult
from xfm.reports.scores import Score

USUAL = "most frequent classes"


def class_scores(
    method: str,
    scores: Array,
    classes: Array,
    labels: Array,
    seed: int,
    order: bool = True,
    seen: Array | None = None,
) -> dict[str, Score]:
    """Accuracy, the mean over the classes and, of more than five classes, top 5.

    The baseline is to guess the most frequent classes.

    Args:
        method: begins the names of the metrics.
        scores: [N, C], higher is likelier.
        classes: [C] label of each column.
        labels: [N] true labels.
        seed: of what made the scores.
        order: whether the scores order more than the first class.
        seen: [M] labels of the training rows; without, the most frequent classes are those of the rows.
    """
    places = {label: place for place, label in enumerate(classes.tolist())}
    targets = np.array([places.get(label, -1) for label in labels.tolist()])
    predicted = classes[scores.argmax(axis=1)]
    result, alone, chance = PartResult(), np.arange(len(labels)), chance_of_classes(len(classes))
    place = f"{IMAGE_CLASSIFICATION.name}/test/{method}"
    floors = {USUAL: majority_accuracy(labels, seen)}
    right = 1.0 * (predicted == labels)
    result.add_rows(f"{place}_accuracy", right, alone, chance["accuracy"], seed, floors)
    usual = most_frequent(labels if seen is None else seen)
    floors = {USUAL: mean_class_accuracy(usual.repeat(len(labels)), labels)}
    found = bootstrap(lambda rows: mean_class_accuracy(predicted[rows], labels[rows]), alone, seed)
    result.add(f"{place}_mean_per_class", found, chance["mean_per_class"], len(labels), seed, floors)
    if order and len(classes) >= FEWEST_FOR_TOP:
        floors = {USUAL: majority_accuracy(labels, seen, TOP)}
        hits = in_top_k(scores, targets, TOP).astype(np.float64)
        result.add_rows(f"{place}_top5", hits, alone, chance["top5"], seed, floors)
    return result.scores
