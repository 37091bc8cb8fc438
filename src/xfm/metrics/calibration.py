"""Calibration: is a classifier as often right as it is sure?"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

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
class Bin:
    """Predictions of similar confidence: how many, their mean confidence, and the share that is right."""

    low: float
    high: float
    count: int
    confidence: float
    accuracy: float


@dataclass(frozen=True)
class Calibration:
    """How confidence and accuracy of a classifier agree.

    Attributes:
        error: expected calibration error, the mean distance of the bins, weighted by their size.
        confidence, accuracy: means over all rows.
        low, high: 95 % interval of the accuracy (Wilson).
        bins: those that are not empty.
        n: rows.
    """

    error: float
    confidence: float
    accuracy: float
    low: float
    high: float
    bins: tuple[Bin, ...]
    n: int

    @property
    def sentence(self) -> str:
        """What it means."""
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
    """Expected calibration error and the bins of a reliability diagram.

    Args:
        confidence: [N] probability of the predicted class, in [0, 1].
        right: [N] whether it is the true one.

    Raises:
        ValueError: there is no row.
    """
    sure, hit = np.asarray(confidence, dtype=np.float64), np.asarray(right, dtype=np.float64)
    if not len(sure) or len(sure) != len(hit):
        raise ValueError(
            f"{len(sure)} confidences and {len(hit)} rows: there must be as many, and one at least"
        )
    count = bins_of(len(sure))
    places = np.minimum((sure * count).astype(int), count - 1)
    bins = tuple(
        Bin(
            place / count,
            (place + 1) / count,
            int(own.sum()),
            float(sure[own].mean()),
            float(hit[own].mean()),
        )
        for place in range(count)
        if (own := places == place).any()
    )
    error = sum(one.count * abs(one.confidence - one.accuracy) for one in bins) / len(sure)
    interval = wilson_interval(float(hit.mean()), len(hit))
    return Calibration(
        float(error), float(sure.mean()), float(hit.mean()), interval.low, interval.high, bins, len(sure)
    )


def bins_of(rows: int) -> int:
    """How many equal bins so many rows have, empty ones included."""
    return min(BINS, max(1, rows // ROWS_OF_A_BIN))


def tempered(probabilities: Array, temperature: float, several: bool = False) -> Floats:
    """[N, C] probabilities, as they are when the logits behind them are divided by a temperature.

    Args:
        probabilities: [N, C] of classes, or of several labels each by itself.
        temperature: larger than 0; above 1 it makes all of them less sure. The order stays.
        several: whether a row has any number of labels.
    """
    sure = np.asarray(probabilities, dtype=np.float64)
    if several:
        sure = sure.clip(_CERTAIN, 1 - _CERTAIN)
        return 1 / (1 + ((1 - sure) / sure) ** (1 / temperature))
    logits = np.log(sure.clip(1e-37)) / temperature
    found = np.exp(logits - logits.max(axis=1, keepdims=True))
    return found / found.sum(axis=1, keepdims=True)


def fitted_temperature(probabilities: Array, truth: NDArray[np.bool_], several: bool = False) -> float:
    """The temperature that makes the truth likeliest (Guo et al., arXiv 1706.04599).

    Targets are a little less than sure, as in Platt (1999), by one row more that is of all classes alike: few
    rows that are all right leave a doubt.

    Args:
        probabilities: [N, C], see `tempered`; N is 1 at least.
        truth: [N, C] whether a row is of a class, or has a label.
        several: whether a row has any number of labels.
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
    """Slope and bias that make log-odds a probability, by the most likely sigmoid (Platt, 1999).

    Platt's targets, which are a little less than sure, keep the slope finite where odds separate the classes.
    The slope is not negative: odds that point the wrong way say nothing.

    Args:
        odds: [N] log-odds of some model.
        true: [N] whether they are right.

    Raises:
        ValueError: there are no true or no false ones.
    """
    from scipy.optimize import minimize

    count, others = int(true.sum()), int((~true).sum())
    if not count or not others:
        raise ValueError(f"{count} true and {others} false pairs: a calibration needs both")
    targets = np.where(true, (count + 1) / (count + 2), 1 / (others + 2))

    def loss(found: Floats) -> tuple[float, Floats]:
        logits = found[0] * odds + found[1]
        off = 1 / (1 + np.exp(-np.clip(logits, -500, 500))) - targets
        likelihood = np.logaddexp(0.0, logits) - targets * logits
        return float(likelihood.mean()), np.array([(off * odds).mean(), off.mean()])

    start = np.array([1.0 / max(1.0, float(np.abs(odds).mean())), 0.0])
    bounds = [(0.0, None), (None, None)]
    slope, bias = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, tol=1e-12).x
    return float(slope), float(bias)


def sure_and_right(
    odds: Floats, true: NDArray[np.bool_], slope: float = 1.0, bias: float = 0.0
) -> tuple[Floats, NDArray[np.bool_]]:
    """[N] the probability of the likelier of yes and no, and whether that is right, of scaled log-odds."""
    logits = slope * odds + bias
    return 1 / (1 + np.exp(-np.abs(logits))), (logits >= 0) == true


def error_interval(
    confidence: Floats, right: NDArray[np.bool_], groups: NDArray[np.int64], seed: int = 0
) -> Interval:
    """The expected calibration error with its 95 % interval, see `bootstrap`.

    Resamples scatter within the bins, and the error is a sum of distances: all are larger than that of the
    rows by about as much. That much is taken off.
    """
    value, count = calibration(confidence, right).error, resamples(len(right))
    samples = resampled(
        lambda places: [calibration(confidence[places], right[places]).error], groups, count, seed
    )[:, 0]
    return percentiles(value, np.maximum(samples + value - samples.mean(), 0.0))
