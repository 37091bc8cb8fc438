"""Scores of a fine-tuned task on a split, each with its interval, beside chance and its best baseline."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xfm.metrics import intervals
from xfm.metrics.calibration import CALIBRATION, error_interval
from xfm.reports.scores import PartResult, floors_of
from xfm.tasks.base import AnyTask
from xfm.tasks.class_task import ClassTask
from xfm.tasks.sampling import components

Metrics = Mapping[str, float]
LARGEST_MATRIX, CONFUSIONS = 16, 10


def add_scores(
    result: PartResult,
    task: AnyTask,
    place: str,
    rows: Sequence[Any],
    predictions: Sequence[Any],
    others: Mapping[str, Metrics],
    only: Collection[str] = (),
    scratch: Metrics | None = None,
    suffix: str = "",
) -> None:
    """Add the scores of a split under `TASK/SPLIT/METRIC` with those of baselines by name; `only` limits the
    metrics."""
    seed, counts = task.settings.seed, task.counts(rows)
    chance = task.chance(rows, seed)
    baselines = task.constant_scores(rows) | dict(others)
    for metric, found in measured(task, rows, predictions, only).items():
        floors = floors_of(metric, baselines)
        n, untrained = counts.get(metric, len(rows)), (scratch or {}).get(metric)
        key = f"{place}/{metric}{suffix}"
        result.add(key, found, chance.get(metric), n, seed, floors, untrained)
    if only or not isinstance(task, ClassTask) or not rows:
        return
    stated: dict[str, Any] = {CALIBRATION: predictions}
    if task.module.task.temperature != 1:
        stated[f"{CALIBRATION}_before"] = task.warmed(predictions)
    for name, own in stated.items():
        sure, right = task.labels.sure_and_right(task.truths_of(rows), own)
        groups = groups_of(task, rows).repeat(len(sure) // len(rows))
        # Its chance is that of giving every row the shares of the classes: as right as it is sure.
        result.add(f"{place}/{name}", error_interval(sure, right, groups, seed), 0.0, len(rows), seed)


def measured(
    task: AnyTask, rows: Sequence[Any], predictions: Sequence[Any], only: Collection[str] = ()
) -> dict[str, intervals.Interval | float]:
    """The metrics with their 95 % intervals, but those that are no means of rows where rows are very many."""
    seed, groups = task.settings.seed, groups_of(task, rows)
    values = {
        name: value for name, value in task.metrics(rows, predictions).items() if not only or name in only
    }
    found: dict[str, intervals.Interval | float] = dict(values)
    means = task.row_scores(rows, predictions)
    for name in values.keys() & means.keys():
        found[name] = replace(intervals.bootstrap(means[name], groups, seed), value=values[name])
    rest = [name for name in values if name not in means]
    if (
        not rest or intervals.SCORED // len(rows) < intervals.FEWEST
    ):  # even the fewest resamples would score too many rows
        return found

    def metrics(places: NDArray[np.int64]) -> list[float]:
        again = task.metrics([rows[place] for place in places], [predictions[place] for place in places])
        return [again.get(name, values[name]) for name in rest]

    samples = intervals.resampled(metrics, groups, intervals.resamples(len(rows)), seed)
    return found | {name: intervals.percentiles(values[name], samples[:, at]) for at, name in enumerate(rest)}


def groups_of(task: AnyTask, rows: Sequence[Any]) -> NDArray[np.int64]:
    """[N] the group of each row: rows that share something (`Task.shared`), directly or not, are one."""
    shared = [task.shared(row) for row in rows]
    numbers = components(own for own in shared if own)
    return intervals.row_groups([numbers[own[0]] if own else None for own in shared])


def classes_of(task: ClassTask[Any], rows: Sequence[Any], predictions: Sequence[Any]) -> dict[str, Any]:
    """The table of classes or labels: `lines` with their rows in the training and here (`test`), precision,
    recall and F1; of one class a row frequent `confusions`, and of few classes the `matrix` of true by
    predicted class."""
    names, counts, scores, matrix = task.labels.table(task.truths_of(rows), predictions)
    known = task.labels.counts(task.truths_of(task.train_rows))
    parts = ("precision", "recall", "f1")
    lines = [
        {"name": name, "train": known.get(name, 0), "test": int(count)}
        | dict(zip(parts, map(float, values), strict=True))
        for name, count, values in zip(names, counts, scores, strict=True)
    ]
    found: dict[str, Any] = {"lines": lines, "names": [*names], "matrix": [], "confusions": []}
    if matrix is not None:
        errors = matrix.copy()
        np.fill_diagonal(errors, 0)
        order = np.argsort(-errors, axis=None, kind="stable")[:CONFUSIONS]
        pairs = [divmod(int(place), len(names)) for place in order]
        wrong = [(names[true], names[guess], int(errors[true, guess])) for true, guess in pairs]
        found["confusions"] = [one for one in wrong if one[2]]
        found["matrix"] = matrix.tolist() if len(names) <= LARGEST_MATRIX else []
    return found
