"""The linear probe: logistic regression on frozen features with one penalty, or with one that is chosen.
CLIP's protocol chooses: the penalty from validation rows, then a fit of all rows."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from xfm.config.probing import RegressionConfig
from xfm.core.errors import UserError
from xfm.finetuning.frozen_features import LabelledFeatures, concatenated, deviations_of
from xfm.finetuning.logistic import LinearClassifier, Regression
from xfm.metrics.classification import Array, accuracy

COARSE = 2.0
"""Decades between the values of the first round."""
FINEST = 0.125
"""Decades between the values of the last round: eight values a decade."""

Trials = dict[float, float]
"""What values of C scored on the validation rows, by their exponents of ten."""


@dataclass(frozen=True)
class LinearProbe:
    """A linear classifier on frozen features with [C] class labels; `chosen` is its C."""

    classifier: LinearClassifier
    classes: Array
    trials: Trials
    chosen: float

    def predict(self, features: Array) -> Array:
        """[N, D] -> [N] labels."""
        return self.classes[self.classifier.predict(features).numpy()]


def fit_probe(
    train: LabelledFeatures,
    validation: LabelledFeatures | None,
    config: RegressionConfig,
    *,
    share: float = 0.2,
    seed: int = 0,
    progress: bool = False,
) -> LinearProbe:
    """Choose C on validation rows, then fit training and validation rows together with it. Without validation
    rows, a `share` of the training rows of every class chooses."""
    if validation is None:
        held = held_out(train.labels, share, seed)
        # Where no class has two rows, none can be spared, and the rows choose that are fitted.
        chosen = held if held.any() else ~held
        choosing = LabelledFeatures(train.features[chosen], train.labels[chosen])
        fitted, everything = LabelledFeatures(train.features[~held], train.labels[~held]), train
    else:
        fitted, choosing, everything = train, validation, concatenated(train, validation)
    classes, codes = _classes(everything.labels)
    targets = np.searchsorted(classes, fitted.labels)  # of sorted names
    regression = _regression(fitted.features, targets, len(classes), config)
    limits = config.tolerance, config.max_iterations
    fits: dict[float, LinearClassifier] = {}
    with tqdm(desc="penalties", unit="fit", leave=False, disable=not progress) as bar:

        def attempt(exponent: float) -> float:
            nearest = fits[min(fits, key=lambda other: abs(other - exponent))] if fits else None
            fits[exponent] = regression.fit(10.0**exponent, nearest, *limits)
            found = classes[fits[exponent].predict(choosing.features).numpy()]
            value = accuracy(found, choosing.labels)
            bar.set_postfix(C=f"{10**exponent:.2g}", accuracy=f"{value:.4f}")
            bar.update()
            return value

        trials = binary_search(attempt, config.lowest, config.highest)
    exponent = best(trials)
    whole = _regression(everything.features, codes, len(classes), config)
    last = whole.fit(10.0**exponent, fits[exponent], *limits)
    return LinearProbe(last, classes, trials, 10.0**exponent)


def fit_each(train: LabelledFeatures, values: Sequence[float], config: RegressionConfig) -> list[LinearProbe]:
    """Fit the rows with each value of C; what the fits share is computed once."""
    classes, codes = _classes(train.labels)
    regression, start = _regression(train.features, codes, len(classes), config), None
    found = []
    for value in values:
        start = regression.fit(value, start, config.tolerance, config.max_iterations)
        found.append(LinearProbe(start, classes, {}, value))
    return found


def _classes(labels: Array) -> tuple[Array, NDArray[np.int64]]:
    """[C] distinct labels and [N] the place of each row's."""
    classes, codes = np.unique(labels, return_inverse=True)
    if len(classes) < 2:
        raise UserError(
            f"all rows to fit have the label {str(classes[0])!r}: a probe needs two classes at least"
        )
    return classes, codes.astype(np.int64)


def held_out(labels: Array, share: float, seed: int) -> NDArray[np.bool_]:
    """[N] bool: a random share of the rows of every class, one of two or more rows at least, never all."""
    rng, chosen = np.random.default_rng(seed), np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        rows = rng.permutation(np.flatnonzero(labels == label))
        chosen[rows[: min(max(1, round(share * len(rows))), len(rows) - 1)]] = True
    return chosen


def _regression(features: Array, codes: Array, classes: int, config: RegressionConfig) -> Regression:
    deviations = deviations_of(features) if config.standardise else None
    return Regression(features, codes, classes, deviations)


def binary_search(score: Callable[[float], float], lowest: float, highest: float) -> Trials:
    """CLIP's search over exponents of ten: a grid, then the interval around its peak halved again and again.
    Learning Transferable Visual Models From Natural Language Supervision (arXiv 2103.00020), appendix A.3."""
    trials: Trials = {}
    step, asked = COARSE, [*np.arange(lowest, highest, COARSE).tolist(), highest]
    while True:
        for exponent in (min(max(one, lowest), highest) for one in asked):
            if exponent not in trials:
                trials[exponent] = score(exponent)
        if step <= FINEST:
            return trials
        step /= 2
        asked = [best(trials) - step, best(trials) + step]


def best(trials: Trials) -> float:
    """The exponent of the highest score; of equal ones that of the stronger penalty."""
    return max(trials, key=lambda exponent: (trials[exponent], -exponent))
