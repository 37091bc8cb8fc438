"""Linear probes of frozen features; training rows choose how a picture is seen, and the penalty."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from xfm.config.linear import RegressionConfig
from xfm.errors import UserError
from xfm.frozen.features import LabelledFeatures, chosen_rows
from xfm.frozen.linear_probe import fit_at, fit_each
from xfm.metrics.classification import Array, accuracy
from xfm.modeling.features import Encoder
from xfm.modeling.precision import autocast

FOLDS = 5
"""Parts of the training rows; each is held out once, to choose how a picture is seen and the penalty."""


_CHOOSING = RegressionConfig(standardise=True, tolerance=1e-4)
_LAST = RegressionConfig(standardise=True)


class PictureView(StrEnum):
    """What of a picture's vectors a probe sees.

    whole: slot 0, which stands for the picture; of the native encoder the mean of the patches.
    max: the largest of each number of the patches; of an object that fills a part, a mean leaves little.
    quarters: the means of 2 x 2 cells side by side, so that it matters where something is.
    """

    WHOLE = "whole"
    MAX = "max"
    QUARTERS = "quarters"


@dataclass(frozen=True)
class Probed:
    """What a probe answered, and how it was chosen.

    Attributes:
        labels: [N] of the test rows.
        view: name of the features.
        penalty: inverse of the L2 penalty (scikit-learn's C).
    """

    labels: Array
    view: str
    penalty: float

    @property
    def chosen(self) -> dict[str, Any]:
        """View and penalty as plain values."""
        return {"view": self.view, "inverse_penalty": self.penalty}


@torch.inference_mode()
def patch_views(encoder: Encoder, pixels: Iterable[Tensor], count: int) -> dict[str, NDArray[np.float32]]:
    """Every `PictureView` of pictures.

    Args:
        encoder: the model.
        pixels: batches [B, 3, H, W] float32, normalised.
        count: number of pictures in all.

    Returns:
        By the name of the view [N, D], D the vision width times the cells.
    """
    rows, columns = encoder.model.config.seeing.grid
    seen: dict[str, list[Tensor]] = {view.value: [] for view in PictureView}
    for batch in encoder.counted(pixels, count):
        with autocast(encoder.precision, encoder.device):
            states = encoder.model.encode_image(batch.to(encoder.device)).float().cpu()
        patches = states[:, 1:]
        grid = patches.transpose(1, 2).unflatten(2, (rows, columns))
        seen[PictureView.WHOLE].append(states[:, 0])
        seen[PictureView.MAX].append(patches.amax(1))
        seen[PictureView.QUARTERS].append(F.adaptive_avg_pool2d(grid, 2).flatten(1))
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
) -> Probed:
    """Choose view and penalty by cross-validation, fit all training rows, answer the others.

    Args:
        views: by name [T + N, D] features, the training rows first.
        labels: [T] of the training rows.
        folds: [T] the fold of each training row, which must not share what the test rows do not.
        penalties: inverse penalties; the first chooses the view, then all are tried on it.

    Raises:
        UserError: there is one fold only, or all but one have one class only.
    """
    count = len(labels)
    if len(np.unique(folds)) < 2:
        said = "the training rows, of one object or text, are too few to choose a probe by"
        raise UserError(f"{said}: raise --probe.train_rows, or give more than {count}")

    def scores(view: str, values: Sequence[float]) -> list[float]:
        rows, right = LabelledFeatures(views[view][:count], labels), np.zeros(len(values))
        for fold in np.unique(folds):
            held = folds == fold
            fitted, other = chosen_rows(rows, ~held, None), chosen_rows(rows, held, None)
            fits = fit_each(fitted, values, _CHOOSING)
            right += [held.sum() * accuracy(fit.predict(other.features), other.labels) for fit in fits]
        return list(right / count)

    view = next(iter(views)) if len(views) == 1 else max(views, key=lambda one: scores(one, penalties[:1]))
    tried = dict(zip(penalties, scores(view, penalties), strict=True))
    penalty = max(tried, key=lambda one: tried[one])
    last = fit_at(LabelledFeatures(views[view][:count], labels), penalty, _LAST)
    return Probed(last.predict(views[view][count:]), view, penalty)
