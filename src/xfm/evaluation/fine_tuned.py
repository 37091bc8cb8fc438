"""A task and its baseline: the same short fine-tuning twice, once with an input blanked."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Generic

from xfm.config.evaluation import FineTuneConfig
from xfm.evaluation.context import Context
from xfm.evaluation.kept_models import keep_model
from xfm.tasks.base import BatchT, Blanked, Prediction, Row, Task, TaskSettings
from xfm.tasks.fine_tune import fine_tune


@dataclass(frozen=True)
class Outcome(Generic[Prediction]):
    """A fine-tuned task on its test splits.

    Attributes:
        predictions: by split, one for each row.
        metrics: by split and name.
        losses: total loss of each step.
    """

    predictions: dict[str, list[Prediction]]
    metrics: dict[str, dict[str, float]]
    losses: list[float]


def fine_tuned(
    context: Context,
    build: Callable[[TaskSettings], Task[Row, BatchT, Prediction]],
    config: FineTuneConfig,
    tests: Mapping[str, Sequence[Row]],
    blanked: Blanked = Blanked.NOTHING,
    keep_as: str = "",
) -> Outcome[Prediction]:
    """Fine-tune a task from the pre-trained model and test it.

    Args:
        context: the evaluation.
        build: makes the task for given settings.
        config: steps, batch size and learning rate.
        tests: rows of each test split.
        blanked: what the model must not see.
        keep_as: what its model is called among those that are kept; without a name it is thrown away.
    """
    task = build(context.settings(config.batch_size, blanked))
    tuning = fine_tune(task, config, context.progress)
    predictions = {split: task.predict(rows) for split, rows in tests.items()}
    metrics = {split: task.metrics(rows, predictions[split]) for split, rows in tests.items()}
    if keep_as and context.kept is not None:
        keep_model(context, task, keep_as, config.steps)
    return Outcome(predictions, metrics, tuning.losses)
