"""Scores of a fine-tuned task on a split, each beside chance and its best baseline, see `Score`."""

from collections.abc import Collection, Mapping, Sequence

from xfm.finetuning.compare import calibration_of
from xfm.metrics.calibration import CALIBRATION
from xfm.reports.results import PartResult
from xfm.reports.scores import floors_of
from xfm.tasks.base import BatchT, Prediction, Row, Task

Metrics = Mapping[str, float]


def add_scores(
    result: PartResult,
    task: Task[Row, BatchT, Prediction],
    place: str,
    rows: Sequence[Row],
    predictions: Sequence[Prediction],
    others: Mapping[str, Metrics],
    only: Collection[str] = (),
) -> None:
    """Score a split under `PLACE/METRIC`, where the place is `TASK/SPLIT`.

    Args:
        result: takes the scores.
        task: with the fine-tuned model.
        place: begins the keys.
        rows: of the split.
        predictions: one for each row.
        others: metrics of the same split by the name of a baseline; constant guesses are added here.
        only: metrics that become scores; all of them, and how well probabilities are calibrated, if empty.
    """
    seed, counts = task.settings.seed, task.counts(rows)
    chance = task.chance(rows, seed)
    baselines = task.constant_scores(rows) | dict(others)
    for metric, value in task.metrics(rows, predictions).items():
        if only and metric not in only:
            continue
        n = counts.get(metric, len(rows))
        result.add(f"{place}/{metric}", value, chance.get(metric), n, seed, floors_of(metric, baselines))
    if not only and (found := calibration_of(task, rows, predictions)):
        # Its chance is that of giving every row the shares of the classes: as right as it is sure.
        result.add(f"{place}/{CALIBRATION}", found.error, 0.0, found.n, seed)
