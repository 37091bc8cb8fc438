"""Linear probe and k-NN of the frozen vision encoder: category of unseen objects, handwritten digits."""

from collections.abc import Iterator, Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from xfm.evaluation.context import Context
from xfm.evaluation.probing import FOLDS, PictureView, folds_of, patch_views, probe
from xfm.frozen.features import LabelledFeatures, raw_pixels
from xfm.frozen.neighbours import nearest_neighbours
from xfm.metrics.classification import Array, chance_of_classes, majority_accuracy
from xfm.metrics.intervals import row_groups
from xfm.modeling.pixels import framed, model_pixels
from xfm.modeling.xfm import XFM
from xfm.reports.results import OWN, PartResult
from xfm.tasks.world_files import read_categories

DIGITS_TRAIN = 1000
"""The first 1,000 digits train, or as many of them as a probe may have, and the other 797 test, in the
published order: not shuffled, because neighbours in that order come from one writer."""


def run_category(context: Context) -> PartResult:
    """Category of single-object pictures; the test objects are in no training row of the probe.

    Baselines: the most frequent category, and the same probe, chosen likewise, on raw pixels and on a
    randomly initialised encoder of the same configuration.
    """
    config = context.config.probe
    train = context.rows(read_categories, "category", "train", config.train_rows)
    test = context.rows(read_categories, "category", "test", config.test_rows)
    pictures = torch.stack([context.pictures.uint8(row.image) for row in train + test])  # [N, 3, S, S]
    labels = np.array([row.label for row in train + test])
    # The test's pictures are of some hundred objects, each in several of them; so are the training rows'.
    folds = folds_of(row_groups([row.shown for row in train]), context.config.seed)
    return _probe(context, "category", pictures, labels, folds, row_groups([row.shown for row in test]))


def run_digits(context: Context) -> PartResult:
    """scikit-learn's digits, enlarged to the model's picture size; baselines as for the category."""
    images, labels = digits()
    config = context.config.probe
    train, test = min(config.train_rows or len(labels), DIGITS_TRAIN), config.test_rows or len(labels)
    keep = np.r_[0:train, DIGITS_TRAIN : min(len(labels), DIGITS_TRAIN + test)]
    grey = torch.from_numpy(images[keep] * 255).round().to(torch.uint8)  # [N, 8, 8]
    pictures = torch.stack(
        [framed(digit.expand(3, -1, -1), context.pretrained.preprocessing) for digit in grey]
    )
    alone = np.arange(len(keep) - train)
    folds = np.arange(train) * FOLDS // train  # of other writers, see above
    return _probe(context, "digits", pictures, labels[keep], folds, alone)


def _probe(
    context: Context,
    name: str,
    pictures: torch.Tensor,
    labels: Array,
    folds: NDArray[np.int64],
    groups: NDArray[np.int64],
) -> PartResult:
    """Probe and k-NN of the model's, a random encoder's and the pixels' features.

    Args:
        context: the model.
        name: of the task.
        pictures: [T + N, 3, S, S] uint8, the T training rows first.
        labels: [T + N].
        folds: [T] those of the training rows, which choose.
        groups: [N] of the test rows, see `row_groups`.
    """
    config, seed, result, train = context.config.probe, context.config.seed, PartResult(), len(folds)
    known, true = labels[:train], labels[train:]
    model = context.pretrained.model
    views: dict[str, Mapping[str, Array]] = {
        OWN: _views(context, model, pictures),
        "random encoder": _views(context, context.scratch.model, pictures),
        "raw pixels": {PictureView.WHOLE: raw_pixels(pictures, config.pixel_side)},
    }
    probes: dict[str, NDArray[np.bool_]] = {}
    for source, seen in views.items():
        found = probe(seen, known, folds, config.inverse_penalties)
        probes[source] = found.labels == true
        result.probes.setdefault(name, {})[source] = found.chosen
    neighbours = {
        source: _nearest(seen[PictureView.WHOLE], known, config.neighbours) == true
        for source, seen in views.items()
    }
    chance = chance_of_classes(len(np.unique(known)))["accuracy"]
    usual = {"most frequent class": majority_accuracy(true, known)}
    for metric, right in (("probe_accuracy", probes), ("knn_accuracy", neighbours)):
        own = right.pop(OWN).astype(np.float64)
        floors = usual | {source: float(other.mean()) for source, other in right.items()}
        result.add_rows(f"{name}/test/{metric}", own, groups, chance, seed, floors)
    return result


def _nearest(features: Array, known: Array, neighbours: int) -> Array:
    train = LabelledFeatures(features[: len(known)], known)
    test = LabelledFeatures(features[len(known) :], np.empty(len(features) - len(known), known.dtype))
    return nearest_neighbours(train, test, neighbours)


def _views(context: Context, model: XFM, pictures: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    preprocessing = context.pretrained.preprocessing

    def batches() -> Iterator[torch.Tensor]:
        for batch in pictures.split(context.config.batch_size):
            yield model_pixels(batch, preprocessing)

    return patch_views(context.encoder_of(model), batches(), len(pictures))


def digits() -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """scikit-learn's 1,797 digits: [N, 8, 8] in [0, 1] and [N] labels, in their published order."""
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)  # [N, 64] from 0 to 16
    images = np.asarray(values, dtype=np.float32).reshape(-1, 8, 8) / 16.0
    return images, np.asarray(labels, dtype=np.int64)
