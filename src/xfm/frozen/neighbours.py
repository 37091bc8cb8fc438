"""The nearest neighbours among features, by cosine."""

from typing import Any

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


def neighbour_shares(train: Array, flags: NDArray[np.bool_], test: Array, k: int) -> NDArray[np.float64]:
    """The share of the `k` training rows of largest cosine that have each label.

    A nearer one weighs a little more.

    Args:
        train: [M, D] features of the reference rows.
        flags: [M, C] which labels these have.
        test: [N, D] features of the rows to predict.
        k: neighbours; all training rows if there are fewer.

    Returns:
        [N, C].
    """
    from scipy.sparse import csr_array

    known, labels = _unit_rows(train), csr_array(flags.astype(np.float64))
    size = max(1, NEIGHBOUR_BLOCK // len(known))
    found: list[NDArray[np.float64]] = []
    for rows in blocks(len(test), size):
        nearest, votes = _nearest(known, _unit_rows(test[rows]), k)
        places = np.arange(len(votes)).repeat(votes.shape[1]), nearest.ravel()
        shares = (votes / votes.sum(axis=1, keepdims=True)).ravel()
        mixed: Any = csr_array((shares, places), (len(votes), len(known))) @ labels
        found.append(mixed.toarray())
    return np.concatenate(found)


def _unit_rows(features: Array) -> NDArray[np.float32]:
    """Rows of a memory map scaled to length 1, in blocks that fit into memory as float64."""
    return np.concatenate([unit(features[rows]).astype(np.float32) for rows in blocks(len(features))])


def _vote(known: Array, codes: Array, classes: int, queries: Array, k: int) -> Array:
    """[N] class numbers of [N, D] unit vectors among [M, D] known ones."""
    nearest, weights = _nearest(known, queries, k)
    votes = np.zeros((len(queries), classes))
    np.add.at(votes, (np.arange(len(queries))[:, None], codes[nearest]), weights)
    return votes.argmax(axis=1)


def _nearest(known: Array, queries: Array, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """[N, k] places of the known unit vectors of largest cosine, and what the vote of each weighs."""
    similarity = queries @ known.T  # [N, M]
    k = min(k, similarity.shape[1])
    nearest = np.argpartition(-similarity, k - 1, axis=1)[:, :k]
    cosines = np.take_along_axis(similarity, nearest, axis=1)
    # Cosines of k neighbours sum to at most k, so a thousandth of their mean never outweighs a vote.
    return nearest, 1.0 + cosines / (1000.0 * k)


def unit(features: Array) -> NDArray[np.float64]:
    """Rows of [N, D] scaled to length 1; a zero row stays zero."""
    features = features.astype(np.float64)
    length = np.linalg.norm(features, axis=1, keepdims=True)
    return features / np.where(length > 0, length, 1.0)
