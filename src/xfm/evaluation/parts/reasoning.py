"""Two-picture reasoning after a short fine-tuning, against the same fine-tuning on text only."""

import numpy as np

from xfm.evaluation.context import Context
from xfm.evaluation.examples import ReasoningExample, pick_examples, plain
from xfm.evaluation.fine_tuned import fine_tuned
from xfm.metrics.classification import majority_accuracy
from xfm.reports.results import PartResult
from xfm.reports.scores import SPLITS
from xfm.tasks.base import Blanked, TaskSettings
from xfm.tasks.reasoning import ReasoningTask
from xfm.tasks.splits import SplitRows

SHOWN = 8
TEXT_ONLY = "text only"


def run_reasoning(context: Context) -> PartResult:
    """Accuracy of true / false; chance is the share of the larger class."""
    config, result, seed = context.config.reasoning, PartResult(), context.config.seed
    train = context.rows(ReasoningTask.read, "reasoning", "train", config.train_rows)
    tests = {
        split: context.rows(ReasoningTask.read, "reasoning", split, config.test_rows)
        for split in context.splits(SPLITS)
    }

    def build(settings: TaskSettings) -> ReasoningTask:
        return ReasoningTask(context.pretrained, context.pictures, SplitRows(train), settings)

    tuned = fine_tuned(context, build, config, tests, keep_as="reasoning")
    baseline = fine_tuned(context, build, config, tests, Blanked.PICTURE)
    for split, rows in tests.items():
        labels = np.array([row.label for row in rows])
        floor = {TEXT_ONLY: baseline.metrics[split]["accuracy"]}
        value = tuned.metrics[split]["accuracy"]
        result.add(f"reasoning/{split}/accuracy", value, majority_accuracy(labels), len(rows), seed, floor)
        predicted = [choice.label == "true" for choice in tuned.predictions[split]]
        right = [row.label == guess for row, guess in zip(rows, predicted, strict=True)]
        result.examples[split] = plain(
            [
                ReasoningExample(
                    context.relative(rows[place].images[0]),
                    context.relative(rows[place].images[1]),
                    rows[place].text,
                    bool(rows[place].label),
                    predicted[place],
                )
                for place in pick_examples(right, SHOWN, seed)
            ]
        )
    result.curves = {"reasoning": tuned.losses, f"reasoning, {TEXT_ONLY}": baseline.losses}
    return result
