"""Linear models whose penalty is chosen on the validation rows, from scikit-learn."""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.metrics.classification import pearson

PENALTIES = (0.1, 1.0, 10.0, 100.0)
"""Values of C that are tried; the ridge takes their inverses."""
DEFAULT = 1.0
ITERATIONS = 300


@dataclass(frozen=True)
class LabelledRows:
    """Features [R, D], dense or sparse, and labels [R], or [R, C] where rows have several."""

    features: Any
    labels: NDArray[Any]


@dataclass(frozen=True)
class Fitted:
    """A fitted model of scikit-learn, and how its penalty was found, in words."""

    model: Any
    note: str


def logistic(
    train: LabelledRows, valid: LabelledRows, seed: int, budget: float, penalties: Sequence[float] = PENALTIES
) -> Fitted:
    """Multinomial logistic regression; of equally accurate ones the more certain of the truth.

    Args:
        train: rows to fit.
        valid: rows that choose C; without any it is `DEFAULT`.
        seed: of the solver.
        budget: seconds after which no further C is tried.
        penalties: values of C.
    """
    from sklearn.linear_model import LogisticRegression

    def make(penalty: float) -> Any:
        return LogisticRegression(C=penalty, max_iter=ITERATIONS, random_state=seed)

    def score(model: Any) -> tuple[float, float]:
        probabilities = model.predict_proba(valid.features)
        places = {label: place for place, label in enumerate(model.classes_.tolist())}
        own = [
            row[places[label]] if label in places else 0.0
            for row, label in zip(probabilities, valid.labels.tolist(), strict=True)
        ]
        right = model.classes_[probabilities.argmax(axis=1)] == valid.labels
        return float(right.mean()), float(np.log(np.maximum(own, 1e-12)).mean())

    return chosen(make, score, train, valid, budget, penalties)


def ridge(train: LabelledRows, valid: LabelledRows, budget: float) -> Fitted:
    """Ridge regression, chosen by Pearson's correlation; arguments as in `logistic`."""
    from sklearn.linear_model import Ridge

    def make(penalty: float) -> Any:
        return Ridge(alpha=1 / penalty)

    def score(model: Any) -> tuple[float, float]:
        guessed = np.asarray(model.predict(valid.features), dtype=np.float64)
        return pearson(guessed, valid.labels), -float(np.mean((guessed - valid.labels) ** 2))

    return chosen(make, score, train, valid, budget, PENALTIES)


def chosen(
    make: Callable[[float], Any],
    score: Callable[[Any], tuple[float, float]],
    train: LabelledRows,
    valid: LabelledRows,
    budget: float,
    penalties: Sequence[float],
) -> Fitted:
    """The model of the best penalty on the validation rows."""
    from sklearn.exceptions import ConvergenceWarning

    choosing = bool(len(valid.labels))
    began, found = time.perf_counter(), []
    tried = penalties if choosing else (DEFAULT,)
    with warnings.catch_warnings():
        # The iterations are the budget; the last digits of the optimum do not matter.
        warnings.simplefilter("ignore", ConvergenceWarning)
        for penalty in tried:  # larger ones take longer
            if found and time.perf_counter() - began > budget:
                break
            model = make(penalty).fit(train.features, train.labels)
            found.append((score(model) if choosing else (0.0, 0.0), penalty, model))
    _, penalty, model = max(found, key=lambda one: (one[0], -one[1]))
    how = "chosen on the validation rows" if choosing else "there are no validation rows to choose it by"
    untried = len(tried) - len(found)
    missing = f"; {untried} of {len(tried)} not tried for time" if untried else ""
    return Fitted(model, f"C = {penalty:g}, {how}{missing}")
