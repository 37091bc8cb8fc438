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
from xfm.frozen.features import LabelledFeatures, chosen_rows
from xfm.frozen.linear_probe import LinearProbe, fit_at
from xfm.metrics.classification import Array, accuracy
from xfm.modeling.features import Encoder
from xfm.modeling.precision import autocast

HELD = 0.2
"""Share of the training rows that choose how a picture is seen, and the penalty."""


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


def held_out_groups(groups: NDArray[np.int64], seed: int) -> NDArray[np.bool_]:
    """[T] bool: all rows of a share of the groups, which [T] numbers from 0 tell."""
    count = int(groups.max()) + 1
    chosen = np.random.default_rng(seed).permutation(count)[: max(1, round(HELD * count))]
    return np.isin(groups, chosen)


def probe(
    views: Mapping[str, Array],
    labels: Array,
    held: NDArray[np.bool_],
    penalties: Sequence[float],
) -> Probed:
    """Choose view and penalty on training rows that are held out, fit all training rows, answer the others.

    Args:
        views: by name [T + N, D] features, the training rows first.
        labels: [T] of the training rows.
        held: [T] bool, the rows that choose; they must not share what the test rows do not.
        penalties: inverse penalties; the first chooses the view, then all are tried on it.

    Raises:
        UserError: the rows that are not held out have one class only.
    """
    count = len(labels)

    def score(view: str, penalty: float) -> float:
        rows = LabelledFeatures(views[view][:count], labels)
        fitted, other = chosen_rows(rows, ~held, None), chosen_rows(rows, held, None)
        return accuracy(_fit(fitted, penalty).predict(other.features), other.labels)

    first = {view: score(view, penalties[0]) for view in views}
    view = max(first, key=lambda name: first[name])
    tried = {penalties[0]: first[view]} | {one: score(view, one) for one in penalties[1:]}
    penalty = max(tried, key=lambda one: tried[one])
    last = _fit(LabelledFeatures(views[view][:count], labels), penalty)
    return Probed(last.predict(views[view][count:]), view, penalty)


def _fit(rows: LabelledFeatures, penalty: float) -> LinearProbe:
    return fit_at(rows, penalty, RegressionConfig(standardise=True))
