"""Absence: from the scores of a gallery's best pictures to "nothing found"."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xfm.config.labels import PresenceFit
from xfm.metrics.intervals import Floats

ANSWERED = 0.95
"""Share of the searches for what is there that are answered."""
_ROUNDS, _RIDGE = 8, 1e-3


@dataclass(frozen=True)
class GallerySearches:
    """S searches in galleries, half of which hold what is searched.

    Attributes:
        contrast, odds: [S, K] cosines over the temperature, and matching log-odds, of the shortlist.
        there: [S] whether a fitting picture is in the gallery.
        pictures: [S] size of the gallery.
        groups: [S] of searches that are not independent.
    """

    contrast: Floats
    odds: Floats
    there: NDArray[np.bool_]
    pictures: NDArray[np.int64]
    groups: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.there)

    def highest(self, contrast: float, matching: float) -> tuple[Floats, Floats]:
        """[S] both scores of the best picture by the weights."""
        best = (contrast * self.contrast + matching * self.odds).argmax(1)[:, None]
        return (
            np.take_along_axis(self.contrast, best, 1)[:, 0],
            np.take_along_axis(self.odds, best, 1)[:, 0],
        )

    def heights(self, contrast: float, matching: float) -> Floats:
        """[S] height of the best picture, see `PresenceFit`."""
        return (contrast * self.contrast + matching * self.odds).max(1)


def fit_presence(searches: GallerySearches, data: str, answered: float = ANSWERED) -> PresenceFit:
    """Likeliest weights of the two scores, and the height from which a search answers.

    The best picture depends on the weights and they on it: fitted in turns. The height is the `answered`
    quantile of searches for present things, a line in the logarithm of the gallery's size.
    """
    if searches.there.all() or not searches.there.any():
        raise ValueError("the searches must be for what is there and for what is not")
    logs = np.log(searches.pictures.astype(np.float64))
    sizes = np.unique(searches.pictures[searches.there])
    contrast, matching, bias, per_log = 1.0, 1.0, 0.0, 0.0
    for _ in range(_ROUNDS):
        columns = [*searches.highest(contrast, matching), logs if len(sizes) > 1 else np.zeros_like(logs)]
        contrast, matching, per_log, bias = _logistic(np.stack(columns, axis=1), searches.there)
    heights = searches.heights(contrast, matching)
    reached = [
        np.quantile(heights[searches.there & (searches.pictures == size)], 1 - answered) for size in sizes
    ]
    slope, floor = np.polyfit(np.log(sizes), reached, 1) if len(sizes) > 1 else (0.0, reached[0])
    return PresenceFit(
        contrast, matching, bias, per_log, float(floor), float(slope), answered,
        int(sizes[0]), int(sizes[-1]), len(searches), data,
    )  # fmt: skip


def _logistic(columns: Floats, true: NDArray[np.bool_]) -> tuple[float, float, float, float]:
    """Weights of [N, 3] columns, the first two not negative, and bias; the ridge keeps them finite."""
    from scipy.optimize import minimize

    mean, scale = columns.mean(0), np.maximum(columns.std(0), 1e-9)
    scaled = np.concatenate([(columns - mean) / scale, np.ones((len(columns), 1))], axis=1)

    def loss(found: Floats) -> tuple[float, Floats]:
        logits = scaled @ found
        off = 1 / (1 + np.exp(-np.clip(logits, -500, 500))) - true
        value = (np.logaddexp(0.0, logits) - true * logits).mean() + _RIDGE * (found**2).sum()
        return float(value), scaled.T @ off / len(off) + 2 * _RIDGE * found

    bounds = [(0.0, None), (0.0, None), (None, None), (None, None)]
    found = minimize(loss, np.zeros(4), jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-10).x
    weights = found[:3] / scale
    first, second, third = weights.tolist()
    return first, second, third, float(found[3] - weights @ mean)


def told_apart(searches: GallerySearches, fitted: PresenceFit) -> tuple[NDArray[np.bool_], Floats]:
    """[S] whether the fit answers each search, and its height."""
    heights = searches.heights(fitted.contrast, fitted.matching)
    logs = np.log(np.maximum(searches.pictures, fitted.smallest))
    return heights >= fitted.floor + fitted.floor_per_log * logs, heights
