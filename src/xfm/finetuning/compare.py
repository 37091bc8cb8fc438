"""A fine-tuned model beside simple baselines on the same rows, split by split."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.finetuning.baselines.material import LEAST_BUDGET, Material
from xfm.finetuning.baselines.strong import BaselineResult, scored, strong_baselines
from xfm.finetuning.leaderboard import THIS_MODEL, Leaderboard, Sort, System, leaderboard
from xfm.finetuning.session import Session
from xfm.metrics.calibration import Calibration, calibration
from xfm.metrics.intervals import percentiles, resampled, row_groups
from xfm.tasks.base import Task
from xfm.tasks.class_task import ClassTask
from xfm.tasks.sampling import components

SWITCHED_OFF = {"strong simple baselines": "switched off by --baseline false"}
RESAMPLES, FEWEST, SCORED = 200, 50, 400_000
"""Most and fewest resamples behind the intervals of further metrics, and the rows that are scored for them in
all: of more than `SCORED / FEWEST` rows there are no such intervals."""


@dataclass(frozen=True)
class Comparison:
    """Strong baselines by name, and the leaderboard of each test split."""

    strong: Mapping[str, BaselineResult]
    boards: Mapping[str, Leaderboard]


def compare(
    run: Session,
    task: Task[Any, Any, Any],
    tests: Mapping[str, Sequence[Any]],
    predictions: Mapping[str, list[Any]],
    single: Mapping[str, BaselineResult],
    seconds: float,
) -> Comparison:
    """Run the strong baselines, unless they are switched off, and place everything.

    Args:
        run: model, rows and settings.
        task: with the fine-tuned model.
        tests: rows by split.
        predictions: likewise.
        single: the same training without one modality, by name.
        seconds: of the training.
    """
    strong: dict[str, BaselineResult] = {}
    missing = SWITCHED_OFF
    if run.config.baseline:
        data, budget = run.data, max(LEAST_BUDGET, seconds)
        material = Material(task, run.pretrained, run.pictures, data.train, data.valid, tests, budget)
        strong, missing = strong_baselines(material, run.progress)
    systems = [
        System(THIS_MODEL, Sort.MODEL, scored(task, tests, predictions, seconds)),
        *(System(name, Sort.STRONG, found) for name, found in strong.items()),
        *(System(f"this fine-tuning, {name}", Sort.ABLATION, found) for name, found in single.items()),
    ]
    boards = {}
    for name, rows in tests.items():
        own = [*systems]
        for constant, guessed in task.constants(rows).items():
            found = scored(task, {name: rows}, {name: guessed}, 0.0)
            own.append(System(constant, Sort.CONSTANT, found))
        chance = task.chance(rows, task.settings.seed)
        if task.primary in chance:
            own.append(System("chance", Sort.CHANCE, BaselineResult({name: chance}, {}, {})))
        boards[name] = leaderboard(task, name, rows, own, groups_of(task, rows), missing)
    return Comparison(strong, boards)


def groups_of(task: Task[Any, Any, Any], rows: Sequence[Any]) -> NDArray[np.int64]:
    """[N] the group of each row: rows that share a picture, directly or not, are one."""
    pictures = [task.pictures_of(row) for row in rows]
    numbers = components(own for own in pictures if own)
    return row_groups([numbers[own[0]] if own else None for own in pictures])


def calibration_of(
    task: Task[Any, Any, Any], rows: Sequence[Any], predictions: Sequence[Any]
) -> Calibration | None:
    """How sure and how right a classifier is; None for tasks without classes."""
    if not isinstance(task, ClassTask) or not rows:
        return None
    right = [task.class_of(row) == one.label for row, one in zip(rows, predictions, strict=True)]
    return calibration([max(one.probabilities) for one in predictions], right)


def intervals(
    task: Task[Any, Any, Any], rows: Sequence[Any], predictions: Sequence[Any], board: Leaderboard
) -> dict[str, tuple[float, float]]:
    """95 % intervals by metric: the primary one's of the leaderboard, bootstrapped ones of the others."""
    found: dict[str, tuple[float, float]] = {}
    count = min(RESAMPLES, SCORED // max(1, len(rows)))
    if count >= FEWEST:
        values = task.metrics(rows, predictions)
        groups = groups_of(task, rows)

        def metrics(places: NDArray[np.int64]) -> list[float]:
            again = task.metrics([rows[place] for place in places], [predictions[place] for place in places])
            return [again.get(name, value) for name, value in values.items()]

        samples = resampled(metrics, groups, count, task.settings.seed)
        for column, (name, value) in enumerate(values.items()):
            one = percentiles(value, samples[:, column])
            found[name] = (one.low, one.high)
    model = board.model
    if model.low is not None and model.high is not None:
        found[board.metric] = (model.low, model.high)
    return found
