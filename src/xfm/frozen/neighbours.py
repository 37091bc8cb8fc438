"""The nearest neighbours among features, by cosine."""

import numpy as np
from numpy.typing import NDArray

from xfm.frozen.features import LabelledFeatures, blocks
from xfm.metrics.classification import Array

NEIGHBOUR_BLOCK = 16 << 20
"""Cosines of queries with training rows that are held at once."""


def nearest_neighbours(train: LabelledFeatures, test: LabelledFeatures, k: int) -> Array:
    """Labels by the majority of the `k` training rows of largest cosine.

    Ties go to the class of the larger sum of cosines.

    Args:
        train: the reference rows.
        test: rows to predict; their labels are not used.
        k: neighbours; all training rows if there are fewer.

    Returns:
        [N] predicted labels of the test rows.
    """
    classes, codes = np.unique(train.labels, return_inverse=True)
    known, size = _unit_rows(train.features), max(1, NEIGHBOUR_BLOCK // len(codes))
    found = [
        _vote(known, codes, len(classes), _unit_rows(test.features[rows]), k)
        for rows in blocks(len(test.labels), size)
    ]
    return classes[np.concatenate(found)]


def _unit_rows(features: Array) -> NDArray[np.float32]:
    """Rows of a memory map scaled to length 1, in blocks that fit into memory as float64."""
    return np.concatenate([unit(features[rows]).astype(np.float32) for rows in blocks(len(features))])


def _vote(known: Array, codes: Array, classes: int, queries: Array, k: int) -> Array:
    """[N] class numbers of [N, D] unit vectors among [M, D] known ones."""
    similarity = queries @ known.T  # [N, M]
    k = min(k, similarity.shape[1])
    nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    cosines = np.take_along_axis(similarity, nearest, axis=1)
    votes = np.zeros((len(similarity), classes))
    rows = np.arange(len(similarity))[:, None]
    # Cosines of k neighbours sum to at most k, so a thousandth of their mean never outweighs a vote.
    np.add.at(votes, (rows, codes[nearest]), 1.0 + cosines / (1000.0 * k))
    return votes.argmax(axis=1)


def unit(features: Array) -> NDArray[np.float64]:
    """Rows of [N, D] scaled to length 1; a zero row stays zero."""
    features = features.astype(np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)
