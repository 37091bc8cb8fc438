"""Linear probe and k-NN of the frozen vision encoder: category of unseen objects, handwritten digits."""

from collections.abc import Iterator

import numpy as np
import torch

from xfm.evaluation.context import Context
from xfm.frozen.probe import (
    DIGITS_TRAIN,
    Split,
    digits,
    image_features,
    neighbour_accuracy,
    probe_accuracy,
    random_twin,
    raw_pixels,
)
from xfm.metrics.classification import Array, majority_accuracy
from xfm.modeling.xfm import XFM
from xfm.reports.results import PartResult
from xfm.tasks.image_classification import ImageClassificationTask
from xfm.tasks.pictures import normalise, squash


def run_category(context: Context) -> PartResult:
    """Category of single-object pictures; the test objects are in no training row of the probe.

    Chance is the share of the largest category. Baselines: the same probe on raw pixels and on a randomly
    initialised encoder of the same configuration.
    """
    config = context.config.probe
    train = context.rows(ImageClassificationTask.read, "category", "train", config.train_rows)
    test = context.rows(ImageClassificationTask.read, "category", "test", config.test_rows)
    pictures = torch.stack([context.pictures.uint8(row.image) for row in train + test])  # [N, 3, S, S]
    labels = np.array([row.label for row in train + test])
    return _probe(context, "category", pictures, labels, len(train))


def run_digits(context: Context) -> PartResult:
    """scikit-learn's digits, enlarged to the model's picture size; baselines as for the category."""
    images, labels = digits()
    test_rows = context.config.probe.test_rows or len(labels)
    keep = np.r_[0:DIGITS_TRAIN, DIGITS_TRAIN : min(len(labels), DIGITS_TRAIN + test_rows)]
    grey = torch.from_numpy(images[keep] * 255).round().to(torch.uint8)  # [N, 8, 8]
    pictures = torch.stack(
        [squash(digit.expand(3, -1, -1), context.pretrained.preprocessing) for digit in grey]
    )
    return _probe(context, "digits", pictures, labels[keep], DIGITS_TRAIN)


def _probe(context: Context, name: str, pictures: torch.Tensor, labels: Array, train: int) -> PartResult:
    """Probe and k-NN of the model's, a random encoder's and the pixels' features.

    Args:
        context: the model.
        name: of the task.
        pictures: [N, 3, S, S] uint8, the training rows first.
        labels: [N].
        train: number of training rows.
    """
    config, seed, result = context.config.probe, context.config.seed, PartResult()
    model = context.pretrained.model
    features = {
        "model": _features(context, model, pictures),
        "random encoder": _features(context, random_twin(model, seed), pictures),
        "raw pixels": raw_pixels(pictures, config.pixel_side),
    }
    splits = {
        source: (Split(values[:train], labels[:train]), Split(values[train:], labels[train:]))
        for source, values in features.items()
    }
    probes = {
        source: probe_accuracy(*split, config.inverse_penalty, seed) for source, split in splits.items()
    }
    neighbours = {source: neighbour_accuracy(*split, config.neighbours) for source, split in splits.items()}
    chance = majority_accuracy(labels[train:])
    for metric, values in (("probe_accuracy", probes), ("knn_accuracy", neighbours)):
        value = values.pop("model")
        result.add(f"{name}/test/{metric}", value, chance, len(labels) - train, seed, values)
    return result


def _features(context: Context, model: XFM, pictures: torch.Tensor) -> Array:
    """[N, Dv] slot-0 features of pictures [N, 3, S, S] uint8."""
    preprocessing = context.pretrained.preprocessing

    def batches() -> Iterator[torch.Tensor]:
        for batch in pictures.split(context.config.batch_size):
            yield normalise(batch, preprocessing)

    return image_features(context.encoder_of(model), batches(), len(pictures))
