"""Linear probe and k-NN of the frozen vision encoder: category of unseen objects, handwritten digits."""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from xfm.config.linear import RegressionConfig
from xfm.evaluation.context import Context
from xfm.frozen.features import LabelledFeatures, raw_pixels
from xfm.frozen.linear_probe import fit_at
from xfm.frozen.neighbours import nearest_neighbours
from xfm.metrics.classification import Array, chance_of_classes, majority_accuracy
from xfm.metrics.intervals import row_groups
from xfm.modeling.features import image_features
from xfm.modeling.xfm import XFM
from xfm.reports.results import PartResult
from xfm.tasks.pictures import model_pixels, squash
from xfm.tasks.world_files import read_categories

DIGITS_TRAIN = 1000
"""The first 1,000 digits train and the other 797 test, in the published order: not shuffled, because
neighbours in that order come from one writer."""


def run_category(context: Context) -> PartResult:
    """Category of single-object pictures; the test objects are in no training row of the probe.

    Baselines: the most frequent category, and the same probe on raw pixels and on a randomly initialised
    encoder of the same configuration.
    """
    config = context.config.probe
    train = context.rows(read_categories, "category", "train", config.train_rows)
    test = context.rows(read_categories, "category", "test", config.test_rows)
    pictures = torch.stack([context.pictures.uint8(row.image) for row in train + test])  # [N, 3, S, S]
    labels = np.array([row.label for row in train + test])
    # The test's pictures are of some hundred objects, each in several of them.
    return _probe(context, "category", pictures, labels, len(train), row_groups([row.shown for row in test]))


def run_digits(context: Context) -> PartResult:
    """scikit-learn's digits, enlarged to the model's picture size; baselines as for the category."""
    images, labels = digits()
    test_rows = context.config.probe.test_rows or len(labels)
    keep = np.r_[0:DIGITS_TRAIN, DIGITS_TRAIN : min(len(labels), DIGITS_TRAIN + test_rows)]
    grey = torch.from_numpy(images[keep] * 255).round().to(torch.uint8)  # [N, 8, 8]
    pictures = torch.stack(
        [squash(digit.expand(3, -1, -1), context.pretrained.preprocessing) for digit in grey]
    )
    alone = np.arange(len(keep) - DIGITS_TRAIN)
    return _probe(context, "digits", pictures, labels[keep], DIGITS_TRAIN, alone)


def _probe(
    context: Context,
    name: str,
    pictures: torch.Tensor,
    labels: Array,
    train: int,
    groups: NDArray[np.int64],
) -> PartResult:
    """Probe and k-NN of the model's, a random encoder's and the pixels' features.

    Args:
        context: the model.
        name: of the task.
        pictures: [N, 3, S, S] uint8, the training rows first.
        labels: [N].
        train: number of training rows.
        groups: [N - train] of the test rows, see `row_groups`.
    """
    config, seed, result = context.config.probe, context.config.seed, PartResult()
    model = context.pretrained.model
    features = {
        "model": _features(context, model, pictures),
        "random encoder": _features(context, context.scratch.model, pictures),
        "raw pixels": raw_pixels(pictures, config.pixel_side),
    }
    splits = {
        source: (
            LabelledFeatures(values[:train], labels[:train]),
            LabelledFeatures(values[train:], labels[train:]),
        )
        for source, values in features.items()
    }
    probes = {
        source: linear_labels(*split, config.inverse_penalty) == split[1].labels
        for source, split in splits.items()
    }
    neighbours = {
        source: nearest_neighbours(*split, config.neighbours) == split[1].labels
        for source, split in splits.items()
    }
    chance = chance_of_classes(len(np.unique(labels[:train])))["accuracy"]
    usual = {"most frequent class": majority_accuracy(labels[train:], labels[:train])}
    for metric, right in (("probe_accuracy", probes), ("knn_accuracy", neighbours)):
        own = right.pop("model").astype(np.float64)
        floors = usual | {source: float(other.mean()) for source, other in right.items()}
        result.add_rows(f"{name}/test/{metric}", own, groups, chance, seed, floors)
    return result


def _features(context: Context, model: XFM, pictures: torch.Tensor) -> Array:
    """[N, Dv] slot-0 features of pictures [N, 3, S, S] uint8."""
    preprocessing = context.pretrained.preprocessing

    def batches() -> Iterator[torch.Tensor]:
        for batch in pictures.split(context.config.batch_size):
            yield model_pixels(batch, preprocessing)

    return image_features(context.encoder_of(model), batches(), len(pictures))


def linear_labels(train: LabelledFeatures, test: LabelledFeatures, inverse_penalty: float) -> Array:
    """[N] labels that a linear probe of one penalty gives to the test rows; features are standardised."""
    return fit_at(train, inverse_penalty, RegressionConfig(standardise=True)).predict(test.features)


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's 1,797 digits: [N, 8, 8] in [0, 1] and [N] labels, in their published order."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)  # [N, 64] from 0 to 16
    images = np.asarray(values, dtype=np.float32).reshape(-1, 8, 8) / 16.0
    return images, np.asarray(labels, dtype=np.int64)
