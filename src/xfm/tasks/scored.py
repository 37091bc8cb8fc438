"""What of a task is scored: metrics, cases in words, and guesses that its predictions are compared with."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from xfm.metrics.classification import mean_scores
from xfm.tasks.rows import Case

Row = TypeVar("Row")
Prediction = TypeVar("Prediction")
Metrics = dict[str, float]
Scorer = Callable[[Sequence[Any], Sequence[Any]], Metrics]
"""Rows of a split and one prediction for each -> metrics by name."""
DRAWS = 20
"""Random guesses of every row whose mean is chance."""


class ScoredTask(ABC, Generic[Row, Prediction]):
    """Rows and predictions as numbers and words; `primary` chooses between models, `known` are the possible
    labels or answers."""

    primary: ClassVar[str]
    known: Sequence[str] = ()

    @abstractmethod
    def metrics(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics by name, the primary one among them, as fractions from 0 to 1."""

    def validation_metrics(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> dict[str, float]:
        """Metrics of rows that choose between models: as `settle` would have the task on them."""
        return self.metrics(rows, predictions)

    @abstractmethod
    def case(self, row: Row, prediction: Prediction) -> Case:
        """A row and its prediction in words."""

    def truths(self, row: Row) -> Sequence[str]:
        """Labels or answers, as `known` has them, of which each would be right for the row."""
        return ()

    def unknown(self, row: Row) -> Sequence[str]:
        """The labels or answers of a row that the task cannot give, which no prediction of it gets right."""
        said = self.truths(row)
        return said[:1] if self.known and not set(self.known) & set(said) else ()

    def guess(self, rows: Sequence[Row], rng: np.random.Generator) -> list[Prediction] | None:
        """A random guess for every row. None where chance is known without, or is not defined."""
        return None

    def known_chance(self, rows: Sequence[Row]) -> dict[str, float]:
        """What guesses are expected to score, by metric, where a formula says so."""
        return {}

    def constants(self, rows: Sequence[Row]) -> dict[str, list[Prediction]]:
        """Guesses that training rows suggest whatever the input, by name, such as the most frequent class."""
        return {}

    def chance(self, rows: Sequence[Row], seed: int, score: Scorer | None = None) -> dict[str, float]:
        """Chance by metric: a formula, or the mean over `DRAWS` guesses; absent without either."""
        rng, score, known = np.random.default_rng(seed), score or self.metrics, self.known_chance(rows)
        guesses = (self.guess(rows, rng) for _ in range(DRAWS))
        means = mean_scores([score(rows, guessed) for guessed in guesses if guessed is not None])
        return {name: known.get(name, value) for name, value in means.items()} or known

    def constant_scores(self, rows: Sequence[Row], score: Scorer | None = None) -> dict[str, Metrics]:
        """Metrics of `constants`, by their names; `score` as of `chance`."""
        score = score or self.metrics
        return {name: score(rows, guessed) for name, guessed in self.constants(rows).items()}

    def row_scores(
        self, rows: Sequence[Row], predictions: Sequence[Prediction]
    ) -> dict[str, NDArray[np.float64]]:
        """[R] what each row adds to a metric that is a mean of rows, by its name; NaN for no part in it."""
        return {}

    def per_row(self, rows: Sequence[Row], predictions: Sequence[Prediction]) -> NDArray[np.float64] | None:
        """[R] what each row adds to the primary metric, their mean; None where it is no mean of rows."""
        return self.row_scores(rows, predictions).get(self.primary)

    def counts(self, rows: Sequence[Row]) -> dict[str, int]:
        """How many cases stand behind a metric, by its name, where these are not the rows."""
        return {}
