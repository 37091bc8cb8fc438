"""Calibration of classifiers, of matches, and of searches that find nothing."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.config.labels import PresenceFit
from xfm.metrics.classification import Array
from xfm.metrics.intervals import Floats, Interval, percentiles, resampled, resamples, wilson_interval
from xfm.metrics.numbers import percent

CALIBRATION = "calibration_error"
"""The metric's name in `metrics.json`; less is better."""
BINS, ROWS_OF_A_BIN = 15, 20
"""Equal bins of confidence, as in Guo et al. (arXiv 1706.04599), and the rows that there must be for each, or
there are fewer bins: the distances of nearly empty ones are of chance, not of the model."""
FEWEST = 20
"""Rows without which no temperature is fitted."""
_LOWEST, _HIGHEST = 0.01, 100.0
_CERTAIN = 1e-7  # float32 knows nothing that is surer


@dataclass(frozen=True)
class Calibration:
    """Agreement of confidence and accuracy; `low` and `high` are the accuracy's 95 % interval (Wilson).

    `error` is the expected calibration error, the bins' mean distance weighted by size. Each of `bins`, of
    which empty ones are left out, has `low`, `high`, `count`, and mean `confidence` and `accuracy`.
    """

    error: float
    confidence: float
    accuracy: float
    low: float
    high: float
    bins: list[dict[str, float]]
    n: int

    @property
    def sentence(self) -> str:
        """In words."""
        said, right = percent(self.confidence, 0), percent(self.accuracy, 0)
        numbers = f"it is {said} sure on average, and right in {right} of {self.n:,} rows"
        if self.confidence > self.high:
            return f"The model is over-confident: {numbers}. Do not read its confidence as a probability."
        if self.confidence < self.low:
            return f"The model is under-confident: {numbers}. It is right more often than it says."
        return (
            f"On average the model is about as sure as it is right: {numbers}. Single bins may still be off."
        )


def calibration(confidence: Sequence[float] | Array, right: Sequence[bool] | Array) -> Calibration:
    """Calibration of [N] confidences in [0, 1] of predicted classes, and whether these are right."""
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(sure) or len(sure) != len(hit):
        raise ValueError(
            f"{len(sure)} confidences and {len(hit)} rows: there must be as many, and one at least"
        )
    count = bins_of(len(sure))
    places = np.minimum((sure * count).astype(int), count - 1)
    bins: list[dict[str, float]] = []
    for place in range(count):
        if (own := places == place).any():
            means = {"confidence": float(sure[own].mean()), "accuracy": float(hit[own].mean())}
            ends = {"low": place / count, "high": (place + 1) / count}
            bins.append({**ends, "count": int(own.sum()), **means})
    error = sum(one["count"] * abs(one["confidence"] - one["accuracy"]) for one in bins) / len(sure)
    interval = wilson_interval(float(hit.mean()), len(hit))
    return Calibration(
        float(error), float(sure.mean()), float(hit.mean()), interval.low, interval.high, bins, len(sure)
    )


def bins_of(rows: int) -> int:
    """Number of equal bins for so many rows, empty ones included."""
    return min(BINS, max(1, rows // ROWS_OF_A_BIN))


def tempered(probabilities: Array, temperature: float, several: bool = False) -> Floats:
    """[N, C] probabilities with logits divided by a temperature; `several`: any number of labels a row."""
    sure = np.asarray(probabilities, dtype=np.float64)
    if several:
        sure = sure.clip(_CERTAIN, 1 - _CERTAIN)
        return 1 / (1 + ((1 - sure) / sure) ** (1 / temperature))
    logits = np.log(sure.clip(1e-37)) / temperature
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def fitted_temperature(probabilities: Array, truth: NDArray[np.bool_], several: bool = False) -> float:
    """Temperature that maximises the likelihood of [N, C] bool truth (Guo et al., arXiv 1706.04599).

    Platt's targets, smoothed by one further row of all classes alike, leave a doubt where few rows are all
    right.
    """
    from scipy.optimize import minimize_scalar

    rows, classes = truth.shape
    targets = (rows * truth + 1 / (2 if several else classes)) / (rows + 1)

    def loss(power: float) -> float:
        found = tempered(probabilities, float(np.exp(power)), several).clip(1e-300)
        likelihood = targets * np.log(found)
        if several:
            likelihood = likelihood + (1 - targets) * np.log1p(-found)
        return -float(likelihood.sum(axis=1).mean())

    within = (float(np.log(_LOWEST)), float(np.log(_HIGHEST)))
    found: Any = minimize_scalar(loss, bounds=within, method="bounded")
    return float(np.exp(found.x))


def platt(odds: Floats, true: NDArray[np.bool_]) -> tuple[float, float]:
    """Slope (not negative) and bias of the likeliest sigmoid of [N] log-odds (Platt, 1999).

    Platt's smoothed targets keep the slope finite.
    """
    count, others = int(true.sum()), int((~true).sum())
    targets = np.where(true, (count + 1) / (count + 2), 1 / (others + 2))
    slope, bias = _likeliest(odds[:, None], targets, (0.0,))
    return slope, bias


def sure_and_right(
    odds: Floats, true: NDArray[np.bool_], slope: float = 1.0, bias: float = 0.0
) -> tuple[Floats, NDArray[np.bool_]]:
    """[N] probability of the likelier of yes and no, and whether that is right, of scaled log-odds."""
    logits = slope * odds + bias
    return 1 / (1 + np.exp(-np.abs(logits))), (logits >= 0) == true


def error_interval(
    confidence: Floats, right: NDArray[np.bool_], groups: NDArray[np.int64], seed: int = 0
) -> Interval:
    """The expected calibration error with its 95 % bootstrap interval, corrected for the resamples' bias."""
    value, count = calibration(confidence, right).error, resamples(len(right))
    samples = resampled(
        lambda places: [calibration(confidence[places], right[places]).error], groups, count, seed
    )[:, 0]
    return percentiles(value, np.maximum(samples + value - samples.mean(), 0.0))


ANSWERED = 0.95
"""Share of the searches for what is there that are answered."""
_ROUNDS, _RIDGE = 8, 1e-3


@dataclass(frozen=True)
class GallerySearches:
    """S searches in galleries, half of which hold what is searched (`there`): [S, K] cosines over the
    temperature, and matching log-odds, of the shortlist; [S] size of the gallery, and group of searches that
    are not independent."""

    contrast: Floats
    odds: Floats
    there: NDArray[np.bool_]
    pictures: NDArray[np.int64]
    groups: NDArray[np.int64]

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
        best = (contrast * searches.contrast + matching * searches.odds).argmax(1)[:, None]
        scores = [np.take_along_axis(own, best, 1)[:, 0] for own in (searches.contrast, searches.odds)]
        columns = [*scores, logs if len(sizes) > 1 else np.zeros_like(logs)]
        found = _likeliest(np.stack(columns, axis=1), searches.there, (0.0, 0.0, None), _RIDGE)
        contrast, matching, per_log, bias = found
    heights = searches.heights(contrast, matching)
    reached = [
        np.quantile(heights[searches.there & (searches.pictures == size)], 1 - answered) for size in sizes
    ]
    slope, floor = np.polyfit(np.log(sizes), reached, 1) if len(sizes) > 1 else (0.0, reached[0])
    return PresenceFit(
        contrast, matching, bias, per_log, float(floor), float(slope), answered,
        int(sizes[0]), int(sizes[-1]), len(logs), data,
    )  # fmt: skip


def _likeliest(
    columns: Floats, targets: Array, least: Sequence[float | None], ridge: float = 0.0
) -> list[float]:
    """Weights of [N, K] columns, each at least so large, and bias of a sigmoid; a ridge keeps them finite."""
    from scipy.optimize import minimize

    mean, scale = columns.mean(0), np.maximum(columns.std(0), 1e-9)
    scaled = np.concatenate([(columns - mean) / scale, np.ones((len(columns), 1))], axis=1)

    def loss(found: Floats) -> tuple[float, Floats]:
        logits = scaled @ found
        off = 1 / (1 + np.exp(-np.clip(logits, -500, 500))) - targets
        value = (np.logaddexp(0.0, logits) - targets * logits).mean() + ridge * (found**2).sum()
        return float(value), scaled.T @ off / len(off) + 2 * ridge * found

    bounds, start = [(low, None) for low in (*least, None)], np.zeros(len(least) + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12).x
    weights = found[:-1] / scale
    return [*weights.tolist(), float(found[-1] - weights @ mean)]
