"""Nearest neighbours are scikit-learn's; pixels as features."""

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier

from xfm.frozen.features import LabelledFeatures, raw_pixels
from xfm.frozen.neighbours import nearest_neighbours, unit


@pytest.mark.parametrize("k", [1, 7])
def test_neighbours_are_scikit_learns(k: int) -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 300)
    features = (1.5 * rng.normal(size=(4, 10))[labels] + rng.normal(size=(300, 10))).astype(np.float32)
    names = np.array(["ant", "bee", "cat", "dog"])[labels]
    train, test = LabelledFeatures(features[:200], names[:200]), LabelledFeatures(features[200:], names[200:])
    reference = KNeighborsClassifier(k, metric="cosine").fit(train.features, train.labels)
    # scikit-learn breaks ties of votes by the label's order, we by the larger sum of cosines.
    votes = reference.predict_proba(test.features)
    clear = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    ours = nearest_neighbours(train, test, k)
    assert clear.mean() > 0.8
    assert (ours[clear] == reference.predict(test.features)[clear]).all()


def test_ties_go_to_the_nearer_class() -> None:
    train = LabelledFeatures(
        np.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [0.2, 1.0]]), np.array([0, 0, 1, 1])
    )
    test = LabelledFeatures(np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([0, 1]))
    for k in (4, 99):
        assert nearest_neighbours(train, test, k).tolist() == [0, 1]


def test_unit_rows() -> None:
    rows = unit(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_raw_pixels_are_shrunk_pictures() -> None:
    flat = torch.full((2, 3, 32, 32), 7, dtype=torch.uint8)
    assert raw_pixels(flat, 4).shape == (2, 48)
    assert np.allclose(raw_pixels(flat, 4), 7)
