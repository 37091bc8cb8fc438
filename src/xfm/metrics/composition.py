"""Composition: which of a few pictures and captions that differ in little belong together."""

import numpy as np
from numpy.typing import NDArray

from xfm.metrics.classification import Array, mean_class_accuracy

CHANCES = {"accuracy": 1 / 2, "text": 1 / 4, "image": 1 / 4, "group": 1 / 6}
"""Expected means of `composition_right` with two captions, where every order of the scores is as likely: of
four, both true ones are above both others in 2! 2! of 4! orders."""


def composition_right(scores: Array) -> dict[str, NDArray[np.bool_]]:
    """[N] bool whether each case is right, by metric, from [N, I, T] scores of I pictures with T captions.

    Caption i is of picture i. Of one picture, whose first caption is the true one: `accuracy`. Of two with
    two captions (Thrush et al., 2022): `text`, each picture prefers its caption; `image`, each caption its
    picture; `group`, both. A tie is not right.
    """
    true = np.diagonal(scores, axis1=1, axis2=2)  # [N, I]
    others = np.where(np.eye(*scores.shape[1:], dtype=bool), -np.inf, scores)  # [N, I, T]
    text = (true > others.max(axis=2)).all(axis=1)
    if scores.shape[1] == 1:
        return {"accuracy": text}
    image = (true > others.max(axis=1)).all(axis=1)
    return {"text": text, "image": image, "group": text & image}


def mean_over_kinds(right: NDArray[np.bool_], kinds: Array, places: NDArray[np.int64]) -> float:
    """Mean over the kinds that occur of their shares of right cases, of [N] cases those at some places;
    `kinds` [N] are whole numbers from 0."""
    return mean_class_accuracy(np.where(right, kinds, -1)[places], kinds[places])
