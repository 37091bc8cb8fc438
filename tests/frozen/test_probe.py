import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from xfm.frozen.probe import (
    Split,
    digits,
    image_features,
    linear_probe,
    nearest_neighbours,
    neighbour_accuracy,
    probe_accuracy,
    random_twin,
    raw_pixels,
    unit,
)
from xfm.modeling.features import Encoder
from xfm.modeling.folder import Pretrained


@pytest.fixture
def splits() -> tuple[Split, Split]:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(4, 10)) * 1.5
    labels = rng.integers(0, 4, 300)
    features = (centres[labels] + rng.normal(size=(300, 10))).astype(np.float32)
    names = np.array(["ant", "bee", "cat", "dog"])[labels]
    return Split(features[:200], names[:200]), Split(features[200:], names[200:])


def test_linear_probe_is_logistic_regression_on_standardised_features(splits: tuple[Split, Split]) -> None:
    train, test = splits
    scaler = StandardScaler().fit(train.features)
    reference = LogisticRegression(C=0.1, max_iter=300).fit(scaler.transform(train.features), train.labels)
    expected = reference.predict(scaler.transform(test.features))
    assert (linear_probe(train, test, 0.1) == expected).mean() > 0.98
    assert probe_accuracy(train, test, 0.1) > 0.7


@pytest.mark.parametrize("k", [1, 7])
def test_neighbours_are_scikit_learns(splits: tuple[Split, Split], k: int) -> None:
    train, test = splits
    reference = KNeighborsClassifier(k, metric="cosine").fit(train.features, train.labels)
    # scikit-learn breaks ties of votes by the label's order, we by the larger sum of cosines.
    votes = reference.predict_proba(test.features)
    clear = (votes == votes.max(axis=1, keepdims=True)).sum(axis=1) == 1
    ours = nearest_neighbours(train, test, k)
    assert clear.mean() > 0.8
    assert (ours[clear] == reference.predict(test.features)[clear]).all()


def test_ties_go_to_the_nearer_class() -> None:
    train = Split(np.array([[1.0, 0.0], [1.0, 0.2], [0.0, 1.0], [0.2, 1.0]]), np.array([0, 0, 1, 1]))
    test = Split(np.array([[1.0, 0.5], [0.5, 1.0]]), np.array([0, 1]))
    assert neighbour_accuracy(train, test, k=4) == 1.0
    assert neighbour_accuracy(train, test, k=99) == 1.0


def test_unit_rows() -> None:
    rows = unit(np.array([[3.0, 4.0], [0.0, 0.0]]))
    assert rows.tolist() == [[0.6, 0.8], [0.0, 0.0]]


def test_image_features_are_slot_0(pretrained: Pretrained) -> None:
    pixels = torch.randn(5, 3, 32, 32)
    encoder = Encoder(pretrained.model, pretrained.tokenizer)
    found = image_features(encoder, pixels.split(2), 5)
    with torch.no_grad():
        expected = pretrained.model.encode_image(pixels)[:, 1:].mean(dim=1)
    np.testing.assert_allclose(found, expected.numpy(), atol=0.03)


def test_random_twin_is_another_model_of_the_same_shape(pretrained: Pretrained) -> None:
    state = torch.get_rng_state()
    twin = random_twin(pretrained.model, seed=7)
    assert torch.equal(state, torch.get_rng_state())
    ours, theirs = pretrained.model.state_dict(), twin.state_dict()
    assert {k: v.shape for k, v in ours.items()} == {k: v.shape for k, v in theirs.items()}
    name = "vision.patch_embed.weight"
    assert not torch.equal(ours[name], theirs[name])
    assert torch.equal(theirs[name], random_twin(pretrained.model, seed=7).state_dict()[name])


def test_raw_pixels_are_shrunk_pictures() -> None:
    flat = torch.full((2, 3, 32, 32), 7, dtype=torch.uint8)
    assert raw_pixels(flat, 4).shape == (2, 48)
    assert np.allclose(raw_pixels(flat, 4), 7)


def test_digits_are_the_published_ones() -> None:
    images, labels = digits()
    assert images.shape == (1797, 8, 8)
    assert images.min() == 0
    assert images.max() == 1
    assert labels[:10].tolist() == list(range(10))
