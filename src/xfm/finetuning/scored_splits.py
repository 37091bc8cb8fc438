"""What is scored of a run: splits with predictions, the model among baselines, and their metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf
from typing import Any

from xfm.finetuning.baselines.strong import BaselineResult, scored
from xfm.finetuning.cross import CROSS, CrossValidated
from xfm.finetuning.leaderboard import Leaderboard, compare, strong_of, systems_of
from xfm.finetuning.session import AnyTask, Session


@dataclass(frozen=True)
class ScoredSplits:
    """Everything by split, the first one first.

    Attributes:
        tests: rows.
        predictions: of the model, one for each row.
        boards: it among baselines.
        others: metrics of baselines by their names.
    """

    tests: dict[str, Sequence[Any]]
    predictions: dict[str, list[Any]]
    boards: dict[str, Leaderboard]
    others: dict[str, dict[str, Mapping[str, float]]]

    def after(self, crossed: CrossValidated) -> "ScoredSplits":
        """The same behind the rows of a cross-validation."""
        return ScoredSplits(
            {CROSS: crossed.rows, **self.tests},
            {CROSS: crossed.predictions, **self.predictions},
            {**crossed.boards, **self.boards},
            {CROSS: crossed.others, **self.others},
        )


def scored_splits(
    run: Session,
    task: AnyTask,
    predictions: dict[str, list[Any]],
    single: Mapping[str, BaselineResult],
    seconds: float,
    left: float = inf,
) -> ScoredSplits:
    """The model beside everything else on the run's test splits; where there are none nothing is run.

    Args:
        run: model, rows and settings.
        task: with the fine-tuned model.
        predictions: of the test rows, by split.
        single: baselines of one modality, which were trained.
        seconds: of the training.
        left: seconds until everything must be done.
    """
    tests = run.tests
    if not tests:
        return ScoredSplits({}, {}, {}, {})
    strong, missing = strong_of(run, task, tests, seconds, left)
    boards = compare(
        task, tests, systems_of(scored(task, tests, predictions, seconds), strong, single), missing
    )
    both = {**single, **strong}
    others = {name: {one: found.metrics[name] for one, found in both.items()} for name in tests}
    return ScoredSplits(dict(tests), predictions, boards, others)
