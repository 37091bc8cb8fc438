"""The nearest neighbours among features, by cosine."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from xfm.finetuning.frozen_features import LabelledFeatures, blocks
from xfm.metrics.classification import Array

NEIGHBOUR_BLOCK = 16 << 20
"""Cosines of queries with training rows that are held at once."""


def nearest_neighbours(train: LabelledFeatures, test: LabelledFeatures, k: int) -> Array:
    """Labels [N] by the majority of the `k` training rows of largest cosine; ties go to the larger sum of
    cosines."""
    classes, codes = np.unique(train.labels, return_inverse=True)
    labels = csr_array((np.ones(len(codes)), (np.arange(len(codes)), codes)))
    found = [shares.argmax(axis=1) for shares in _shares(train.features, labels, test.features, k)]
    return classes[np.concatenate(found)]


def neighbour_shares(train: Array, flags: NDArray[np.bool_], test: Array, k: int) -> NDArray[np.float64]:
    """Share [N, C] of the `k` nearest of M rows [M, D] with each label (`flags` [M, C]), nearer ones a little
    more."""
    return np.concatenate([*_shares(train, csr_array(flags.astype(np.float64)), test, k)])


def _shares(train: Array, labels: csr_array, test: Array, k: int) -> Iterator[NDArray[np.float64]]:
    known, size = _unit_rows(train), max(1, NEIGHBOUR_BLOCK // len(train))
    for rows in blocks(len(test), size):
        nearest, votes = _nearest(known, _unit_rows(test[rows]), k)
        places = np.arange(len(votes)).repeat(votes.shape[1]), nearest.ravel()
        shares = (votes / votes.sum(axis=1, keepdims=True)).ravel()
        mixed: Any = csr_array((shares, places), (len(votes), len(known))) @ labels
        yield mixed.toarray()


def _unit_rows(features: Array) -> NDArray[np.float32]:
    """Rows of length 1, in blocks that fit into memory as float64."""
    return np.concatenate([unit(features[rows]).astype(np.float32) for rows in blocks(len(features))])


def _nearest(known: Array, queries: Array, k: int) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Places [N, k] of largest cosine, and the weight of each vote."""
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
