"""Probes of frozen features: multinomial logistic regression and cosine k-NN."""

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from xfm.metrics.classification import Array, accuracy
from xfm.modeling.features import Encoder, encode_images
from xfm.modeling.precision import autocast
from xfm.modeling.xfm import XFM
from xfm.tasks.sampling import seeded

NEIGHBOUR_BLOCK = 16 << 20
"""Cosines of queries with training rows that are held at once."""


@dataclass(frozen=True)
class Split:
    """Features and labels.

    Attributes:
        features: [N, D] float.
        labels: [N] of any kind.
    """

    features: Array
    labels: Array


def linear_probe(train: Split, test: Split, inverse_penalty: float, seed: int = 0) -> Array:
    """Labels that a linear classifier on frozen features gives.

    Multinomial logistic regression (scikit-learn, L-BFGS) on features standardised by the training rows.

    Args:
        train: rows to fit.
        test: rows to predict; their labels are not used.
        inverse_penalty: C; smaller values regularise more.
        seed: for the solver.

    Returns:
        [N] predicted labels of the test rows.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    solver = LogisticRegression(C=inverse_penalty, max_iter=300, random_state=seed)
    probe = make_pipeline(StandardScaler(), solver)
    with warnings.catch_warnings():
        # 300 steps of L-BFGS are the probe's budget; the last digits of the optimum do not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(train.features.astype(np.float64), train.labels)
    return probe.predict(test.features.astype(np.float64))


def nearest_neighbours(train: Split, test: Split, k: int) -> Array:
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
    size = max(1, NEIGHBOUR_BLOCK // len(codes))
    known = np.concatenate([unit(part).astype(np.float32) for part in _blocks(train.features)])
    found = [
        _vote(known, codes, len(classes), unit(test.features[start : start + size]).astype(np.float32), k)
        for start in range(0, len(test.labels), size)
    ]
    return classes[np.concatenate(found)]


def _blocks(features: Array, rows: int = 65_536) -> Iterator[Array]:
    """Rows of a memory map that fit into memory as float64."""
    for start in range(0, len(features), rows):
        yield features[start : start + rows]


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


def probe_accuracy(train: Split, test: Split, inverse_penalty: float, seed: int = 0) -> float:
    """Accuracy of `linear_probe`."""
    return accuracy(linear_probe(train, test, inverse_penalty, seed), test.labels)


def neighbour_accuracy(train: Split, test: Split, k: int) -> float:
    """Accuracy of `nearest_neighbours`."""
    return accuracy(nearest_neighbours(train, test, k), test.labels)


def image_features(encoder: Encoder, pixels: Iterable[torch.Tensor], count: int) -> NDArray[np.float32]:
    """Slot 0 of the vision encoder (the mean of the patch vectors), [N, Dv] float32, of batches of pixels."""
    return encode_images(encoder, pixels, count).states[:, 0].float().cpu().numpy()


def text_features(
    encoder: Encoder, batches: Iterable[tuple[torch.Tensor, torch.Tensor]]
) -> NDArray[np.float32]:
    """Token 0 of the language encoder, [N, Dt] float32, of batches of ids and masks [R, T]."""
    found: list[torch.Tensor] = []
    with torch.inference_mode(), autocast(encoder.precision, encoder.device):
        for ids, mask in batches:
            states = encoder.model.encode_text(ids.to(encoder.device), mask.to(encoder.device))
            found.append(states[:, 0].float().cpu())
    return torch.cat(found).numpy()


def random_twin(model: XFM, seed: int) -> XFM:
    """A randomly initialised model of the same configuration, in evaluation mode on the same device."""
    with seeded(seed):
        twin = XFM(model.config)
    return twin.to(next(model.parameters()).device).eval()


def raw_pixels(pictures: torch.Tensor, side: int) -> NDArray[np.float32]:
    """Pictures shrunk to `side` x `side` pixels and flattened: the baseline of the probes.

    Args:
        pictures: [N, 3, S, S] uint8 or float.
        side: side of the shrunk picture.

    Returns:
        [N, 3 * side * side] float32.
    """
    small = [
        torch.nn.functional.interpolate(
            part.float(), size=(side, side), mode="bilinear", antialias=True, align_corners=False
        )
        for part in pictures.split(256)
    ]
    return torch.cat(small).flatten(1).numpy()


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's 1,797 digits: [N, 8, 8] in [0, 1] and [N] labels, in their published order."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)  # [N, 64] from 0 to 16
    images = np.asarray(values, dtype=np.float32).reshape(-1, 8, 8) / 16.0
    return images, np.asarray(labels, dtype=np.int64)


DIGITS_TRAIN = 1000
"""The first 1,000 digits train and the other 797 test, in the published order: not shuffled, because
neighbours in that order come from one writer."""
