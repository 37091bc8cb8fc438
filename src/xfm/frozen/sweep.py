"""A linear probe by CLIP's protocol: the penalty from validation rows, then a fit of all rows."""

from collections.abc import Callable
from dataclasses import dataclass
from math import log10
from pathlib import Path
from tempfile import TemporaryFile

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from xfm.config.linear import RegressionConfig, Sweep
from xfm.errors import UserError
from xfm.frozen.logistic import Classifier, Fit, Regression
from xfm.frozen.probe import Split
from xfm.frozen.search import Trial, best, binary_search, grid_search
from xfm.metrics.classification import Array

IN_MEMORY = 2 << 30  # bytes of features that are copied into memory; more go to a scratch file


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on frozen features.

    Attributes:
        classifier: its weights.
        classes: [C] label of each output.
        trials: the values of C that were tried, with their accuracy on the validation rows.
        chosen: the value that the classifier was fitted with.
        converged: whether the last fit reached its tolerance.
    """

    classifier: Classifier
    classes: Array
    trials: list[Trial]
    chosen: float
    converged: bool

    def predict(self, features: Array) -> Array:
        """[N, D] -> [N] labels."""
        return self.classes[self.classifier.predict(features).numpy()]


def fit_probe(
    train: Split,
    validation: Split | None,
    config: RegressionConfig,
    *,
    share: float = 0.2,
    seed: int = 0,
    scratch: Path | None = None,
    progress: bool = False,
) -> LinearProbe:
    """Choose C on validation rows, then fit training and validation rows together with it.

    Args:
        train: rows to fit.
        validation: rows that choose C; None takes a share of the training rows.
        config: the sweep.
        share: the share taken, of every class alike.
        seed: which rows are taken.
        scratch: folder for features that are too many to be copied into memory.
        progress: show a bar.

    Raises:
        UserError: the training rows have one class only.
    """
    if validation is None:
        held = held_out(train.labels, share, seed)
        # Where no class has two rows, none can be spared, and the rows choose that are fitted.
        validation = _part(train, held if held.any() else ~held, scratch)
        fitted = _part(train, ~held, scratch)
        everything = train
    else:
        fitted, everything = train, joined(train, validation, scratch)
    classes, codes = np.unique(everything.labels, return_inverse=True)
    if len(classes) < 2:
        raise UserError(
            f"all training rows have the label {str(classes[0])!r}: a probe needs two classes at least"
        )
    known = {label: code for code, label in enumerate(classes.tolist())}
    targets = np.array([known[label] for label in fitted.labels.tolist()])
    trials, fits = _search(
        _regression(fitted.features, targets, len(classes), config),
        lambda classifier: float(
            np.mean(classes[classifier.predict(validation.features).numpy()] == validation.labels)
        ),
        config,
        progress,
    )
    chosen = best(trials)
    regression = _regression(everything.features, codes.astype(np.int64), len(classes), config)
    last = _fit(regression, chosen.exponent, fits[chosen.exponent].classifier, config)
    return LinearProbe(last.classifier, classes, trials, chosen.value, last.converged)


def held_out(labels: Array, share: float, seed: int) -> NDArray[np.bool_]:
    """[N] bool: a random share of the rows of every class, one of two rows or more at least, never all.

    Args:
        labels: [N] of any kind.
        share: in (0, 1).
        seed: of the draw.
    """
    rng, chosen = np.random.default_rng(seed), np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        chosen[rows[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    return chosen


def _search(
    regression: Regression,
    score: Callable[[Classifier], float],
    config: RegressionConfig,
    progress: bool,
) -> tuple[list[Trial], dict[float, Fit]]:
    """Trials and fits by exponent; each fit begins at that of the nearest exponent."""
    fits: dict[float, Fit] = {}
    with tqdm(desc="penalties", unit="fit", leave=False, disable=not progress) as bar:

        def attempt(exponent: float) -> float:
            nearest = min(fits, key=lambda other: abs(other - exponent), default=None)
            start = None if nearest is None else fits[nearest].classifier
            fits[exponent] = _fit(regression, exponent, start, config)
            value = score(fits[exponent].classifier)
            bar.set_postfix(C=f"{10**exponent:.2g}", accuracy=f"{value:.4f}")
            bar.update()
            return value

        if config.sweep is Sweep.GRID:
            return grid_search(attempt, [log10(value) for value in config.grid]), fits
        return binary_search(attempt, config.lowest, config.highest), fits


def _fit(regression: Regression, exponent: float, start: Classifier | None, config: RegressionConfig) -> Fit:
    return regression.fit(10.0**exponent, start, config.tolerance, config.max_iterations)


def _regression(features: Array, codes: Array, classes: int, config: RegressionConfig) -> Regression:
    deviations = _deviations(features) if config.standardise else None
    return Regression(features, codes, classes, deviations)


def _deviations(features: Array) -> Array:
    """[D] standard deviations, 1 where a feature is constant, computed in blocks of rows."""
    total, square = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for start in range(0, len(features), 8192):
        block = np.asarray(features[start : start + 8192], dtype=np.float64)
        total, square = total + block.sum(0), square + (block**2).sum(0)
    mean = total / len(features)
    variance = np.clip(square / len(features) - mean**2, 0, None)
    constant = variance <= 1e-12 * np.maximum(mean**2, 1e-300)
    return np.where(constant, 1.0, np.sqrt(variance))


def _part(split: Split, chosen: NDArray[np.bool_], scratch: Path | None) -> Split:
    """Some rows of a split."""
    rows = np.flatnonzero(chosen)
    features = room((len(rows), split.features.shape[1]), scratch)
    for start in range(0, len(rows), 8192):
        features[start : start + 8192] = split.features[rows[start : start + 8192]]
    return Split(features, split.labels[rows])


def joined(first: Split, second: Split, scratch: Path | None) -> Split:
    """The rows of two splits; in a file below `scratch` where they are too many for memory."""
    features = room((len(first.labels) + len(second.labels), first.features.shape[1]), scratch)
    at = 0
    for split in (first, second):
        for start in range(0, len(split.labels), 8192):
            block = split.features[start : start + 8192]
            features[at : at + len(block)] = block
            at += len(block)
    return Split(features, np.concatenate([first.labels, second.labels]))


def room(shape: tuple[int, int], scratch: Path | None) -> Array:
    """Room for features [N, D] float32: memory, or a file without a name that goes with the array."""
    if 4 * shape[0] * shape[1] <= IN_MEMORY or scratch is None:
        return np.empty(shape, dtype=np.float32)
    with TemporaryFile(dir=scratch) as file:
        return np.memmap(file, dtype=np.float32, mode="w+", shape=shape)
