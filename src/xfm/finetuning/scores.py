"""Scores of a fine-tuned task, each beside chance, the guesses of the training rows, and one modality."""

from collections.abc import Mapping, Sequence

from xfm.finetuning.compare import calibration_of
from xfm.metrics.calibration import CALIBRATION
from xfm.reports.results import PartResult
from xfm.tasks.base import BatchT, Prediction, Row, Task

Metrics = Mapping[str, float]


def add_scores(
    result: PartResult,
    task: Task[Row, BatchT, Prediction],
    split: str,
    rows: Sequence[Row],
    predictions: Sequence[Prediction],
    single: Mapping[str, Metrics],
) -> None:
    """Score a split under `TASK/SPLIT/METRIC`.

    Chance is the mean score of random guesses. The baselines are constant guesses that the training rows
    suggest, and the same fine-tuning without one modality; the best of them is the score's baseline.

    Args:
        result: takes the scores.
        task: with the fine-tuned model.
        split: its name.
        rows: of the split.
        predictions: one for each row.
        single: metrics of the same split by the name of a baseline without one modality.
    """
    seed, counts = task.settings.seed, task.counts(rows)
    chance = task.chance(rows, seed)
    constant = {name: task.metrics(rows, guessed) for name, guessed in task.constants(rows).items()}
    for metric, value in task.metrics(rows, predictions).items():
        floors = {
            name: metrics[metric] for name, metrics in {**constant, **single}.items() if metric in metrics
        }
        key = f"{task.spec.name}/{split}/{metric}"
        result.add(key, value, chance.get(metric, 0.0), counts.get(metric, len(rows)), seed, floors)
    if found := calibration_of(task, rows, predictions):
        # Its chance is that of giving every row the shares of the classes: as right as it is sure.
        result.add(f"{task.spec.name}/{split}/{CALIBRATION}", found.error, 0.0, found.n, seed)
