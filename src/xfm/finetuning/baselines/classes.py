"""Classes between a task and scikit-learn."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.tasks.class_task import ClassTask
from xfm.tasks.classes import TOP, Choice, Labels


def labels_of(task: ClassTask[Any], rows: Sequence[Any]) -> NDArray[Any]:
    """[R] names of the rows' classes."""
    return np.array([task.class_of(row) for row in rows], dtype=object)


def choices(model: Any, features: Any, labels: Labels) -> list[Choice]:
    """What a classifier of scikit-learn says of [R, D] features; a class that it never saw has 0."""
    places = {name: place for place, name in enumerate(labels.names)}
    probabilities = np.zeros((features.shape[0], len(labels.names)))
    probabilities[:, [places[name] for name in model.classes_.tolist()]] = model.predict_proba(features)
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, :TOP]
    return [
        Choice(labels.names[order[0]], tuple(row), tuple(labels.names[place] for place in order))
        for row, order in zip(probabilities.tolist(), best.tolist(), strict=True)
    ]
