"""Linear probes and k-NN of frozen encoders: category of objects, handwritten digits. Training rows
choose how a picture is seen, and the penalty."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.probing import RegressionConfig
from xfm.core.errors import UserError
from xfm.evaluation.context import Context
from xfm.evaluation.probing.linear_probe import fit_each
from xfm.finetuning.frozen_features import LabelledFeatures, nearest_neighbours, raw_pixels
from xfm.metrics.classification import Array, accuracy, chance_of_classes, majority_accuracy
from xfm.metrics.intervals import row_groups
from xfm.models.artifacts import framed, model_pixels
from xfm.models.features import Encoder
from xfm.models.precision import autocast
from xfm.models.xfm import XFM
from xfm.reports.scores import OWN, PartResult
from xfm.tasks.rows import read_categories

FOLDS = 5
"""Parts of the training rows; each is held out once, to choose how a picture is seen and the penalty."""

_CHOOSING = RegressionConfig(standardise=True, tolerance=1e-4)
_LAST = RegressionConfig(standardise=True)

WHOLE, MAX, QUARTERS = "whole", "max", "quarters"
"""Views of a picture: slot 0, the maximum over patches, and means of 2 x 2 cells."""


@torch.inference_mode()
def patch_views(encoder: Encoder, pixels: Iterable[Tensor], count: int) -> dict[str, NDArray[np.float32]]:
    """Every view [N, D] of N pictures, from normalised batches [B, 3, H, W] float32."""
    rows, columns = encoder.model.config.vision.grid
    seen: dict[str, list[Tensor]] = {view: [] for view in (WHOLE, MAX, QUARTERS)}
    for batch in encoder.counted(pixels, count):
        with autocast(encoder.precision, encoder.device):
            states = encoder.model.encode_image(batch.to(encoder.device)).float().cpu()
        patches = states[:, 1:]
        grid = patches.transpose(1, 2).unflatten(2, (rows, columns))
        seen[WHOLE].append(states[:, 0])
        seen[MAX].append(patches.amax(1))
        seen[QUARTERS].append(F.adaptive_avg_pool2d(grid, 2).flatten(1))
    return {name: torch.cat(parts).numpy() for name, parts in seen.items()}


def folds_of(groups: NDArray[np.int64], seed: int) -> NDArray[np.int64]:
    """[T] the fold of each row, all rows of a group in one; [T] groups are numbered from 0."""
    count = int(groups.max()) + 1
    return (np.random.default_rng(seed).permutation(count) * FOLDS // count)[groups]


def probe(
    views: Mapping[str, Array],
    labels: Array,
    folds: NDArray[np.int64],
    penalties: Sequence[float],
) -> tuple[Array, dict[str, Any]]:
    """[N] labels of the test rows, by the view and the penalty that cross-validation of the T training rows
    chooses, and these.

    Views are [T + N, D] features by name, training rows first; the first penalty chooses the view.
    """
    count = len(labels)
    if len(np.unique(folds)) < 2:
        said = "the training rows, of one object or text, are too few to choose a probe by"
        raise UserError(f"{said}: raise --probe.train_rows, or give more than {count}")

    def scores(view: str, values: Sequence[float]) -> list[float]:
        features, right = views[view][:count], np.zeros(len(values))
        for fold in np.unique(folds):
            held = folds == fold
            fits = fit_each(LabelledFeatures(features[~held], labels[~held]), values, _CHOOSING)
            right += [held.sum() * accuracy(fit.predict(features[held]), labels[held]) for fit in fits]
        return list(right / count)

    view = next(iter(views)) if len(views) == 1 else max(views, key=lambda one: scores(one, penalties[:1]))
    tried = dict(zip(penalties, scores(view, penalties), strict=True))
    penalty = max(tried, key=lambda one: tried[one])
    (last,) = fit_each(LabelledFeatures(views[view][:count], labels), [penalty], _LAST)
    return last.predict(views[view][count:]), {"view": view, "inverse_penalty": penalty}


DIGITS_TRAIN = 1000
"""The first 1,000 digits train, or as many of them as a probe may have, and the other 797 test, in the
published order: not shuffled, because neighbours in that order come from one writer."""


def run_category(context: Context) -> PartResult:
    """Category of single-object pictures; the test objects are in no training row. Baselines: the most
    frequent category, and the same probe on raw pixels and on a random encoder."""
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
    from sklearn.datasets import load_digits

    values, labels = load_digits(return_X_y=True)  # 1,797 of [64] from 0 to 16
    images = np.asarray(values, dtype=np.float32).reshape(-1, 8, 8) / 16.0
    labels, config = np.asarray(labels, dtype=np.int64), context.config.probe
    train, test = min(config.train_rows or len(labels), DIGITS_TRAIN), config.test_rows or len(labels)
    keep = np.r_[0:train, DIGITS_TRAIN : min(len(labels), DIGITS_TRAIN + test)]
    grey = torch.from_numpy(images[keep] * 255).round().to(torch.uint8)  # [N, 8, 8]
    how = context.pretrained.preprocessing
    pictures = torch.stack([framed(digit.expand(3, -1, -1), how) for digit in grey])
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
    """Probe and k-NN on features of the model, a random encoder and raw pixels. T + N pictures [3, S, S]
    uint8 and labels, the T training rows first; [T] folds; [N] groups of the test rows."""
    config, seed, result, train = context.config.probe, context.config.seed, PartResult(), len(folds)
    known, true = labels[:train], labels[train:]
    model = context.pretrained.model
    views: dict[str, Mapping[str, Array]] = {
        OWN: _views(context, model, pictures),
        "random encoder": _views(context, context.scratch.model, pictures),
        "raw pixels": {WHOLE: raw_pixels(pictures, config.pixel_side)},
    }
    answers: dict[str, dict[str, Array]] = {"probe_accuracy": {}, "knn_accuracy": {}}
    for source, seen in views.items():
        found, chosen = probe(seen, known, folds, config.inverse_penalties)
        result.probes.setdefault(name, {})[source], whole = chosen, seen[WHOLE]
        answers["probe_accuracy"][source] = found == true
        first, rest = (LabelledFeatures(*own) for own in ((whole[:train], known), (whole[train:], true)))
        answers["knn_accuracy"][source] = nearest_neighbours(first, rest, config.neighbours) == true
    chance = chance_of_classes(len(np.unique(known)))["accuracy"]
    usual = {"most frequent class": majority_accuracy(true, known)}
    for metric, right in answers.items():
        own = right.pop(OWN).astype(np.float64)
        floors = usual | {source: float(other.mean()) for source, other in right.items()}
        result.add_rows(f"{name}/test/{metric}", own, groups, chance, seed, floors)
    return result


def _views(context: Context, model: XFM, pictures: torch.Tensor) -> dict[str, NDArray[np.float32]]:
    preprocessing = context.pretrained.preprocessing
    batches = (model_pixels(batch, preprocessing) for batch in pictures.split(context.config.batch_size))
    return patch_views(context.encoder_of(model), batches, len(pictures))
