"""Is it there at all? From the scores of a gallery's best pictures to "nothing found"."""

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
        contrast: [S, K] cosines over the temperature of the pictures that are re-ranked.
        odds: [S, K] the matching head's log-odds of a match.
        there: [S] whether a picture that fits is in the gallery.
        pictures: [S] in the gallery.
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
        """[S] the two scores of the picture that is highest by the weights."""
        best = (contrast * self.contrast + matching * self.odds).argmax(1)[:, None]
        return (
            np.take_along_axis(self.contrast, best, 1)[:, 0],
            np.take_along_axis(self.odds, best, 1)[:, 0],
        )

    def heights(self, contrast: float, matching: float) -> Floats:
        """[S] the height of the best picture, see `PresenceFit`."""
        return (contrast * self.contrast + matching * self.odds).max(1)


def fit_presence(searches: GallerySearches, data: str, answered: float = ANSWERED) -> PresenceFit:
    """The likeliest weights of the two scores, and the height that present things reach.

    The picture that is highest depends on the weights, and these on the pictures: they are fitted in turns.
    The height from which a search answers is a quantile of the searches for what is there, size by size, and
    a line through these by the logarithm of the size.

    Args:
        searches: with what is there and what is not.
        data: where they are from.
        answered: share of the searches for what is there that are to be answered.

    Raises:
        ValueError: something is there in all searches, or in none.
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
    """Weights of [N, 3] columns, the first two not negative, and a bias, by the most likely sigmoid.

    A small penalty keeps them finite where the columns separate the classes.
    """
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
    """[S] whether each search is answered by the fit, and its height."""
    heights = searches.heights(fitted.contrast, fitted.matching)
    logs = np.log(np.maximum(searches.pictures, fitted.smallest))
    return heights >= fitted.floor + fitted.floor_per_log * logs, heights
