"""Grounding after a short fine-tuning; baselines: the best constant box, training without phrases."""

from collections.abc import Sequence
from functools import partial

import numpy as np

from xfm.evaluation.context import Context
from xfm.evaluation.examples import GroundingExample, pick_examples, plain
from xfm.evaluation.fine_tuned import fine_tuned
from xfm.metrics.boxes import accuracy_at_iou, best_constant_box, iou_matrix, paired_iou
from xfm.metrics.classification import Array
from xfm.reports.results import PartResult
from xfm.reports.scores import SPLITS
from xfm.tasks.base import Blanked, TaskSettings
from xfm.tasks.grounding import GroundingTask
from xfm.tasks.rows import Reference, read_references
from xfm.tasks.splits import SplitRows

SHOWN = 10
SAMPLED_BOXES = 2000  # training boxes behind chance and the constant box


def run_grounding(context: Context) -> PartResult:
    """Accuracy at IoU 0.5 and mean IoU, on scenes of at least four objects.

    Chance is the accuracy of a training box drawn at random. `acc50_zero_shot` is the pre-trained box head
    before any fine-tuning.
    """
    config, result, seed = context.config.grounding, PartResult(), context.config.seed
    read = partial(read_references, bad=context.left_out.add)
    train = context.rows(read, "grounding", "train", config.train_rows)
    tests = {
        split: context.rows(read, "grounding", split, config.test_rows) for split in context.splits(SPLITS)
    }

    def build(settings: TaskSettings) -> GroundingTask:
        return GroundingTask(context.pretrained, context.pictures, SplitRows(train), settings)

    untuned = build(context.settings(config.batch_size))
    zero_shot = {split: untuned.metrics(rows, untuned.predict(rows)) for split, rows in tests.items()}
    tuned = fine_tuned(context, build, config, tests, keep_as="grounding")
    phrase_blind = fine_tuned(context, build, config, tests, Blanked.TEXT)
    chosen = np.random.default_rng(seed).permutation(len(train))[:SAMPLED_BOXES]
    sample = _boxes([train[place] for place in chosen.tolist()])
    constant = best_constant_box(sample)
    for split, rows in tests.items():
        true = _boxes(rows)
        repeated = np.repeat(constant[None], len(rows), axis=0)
        overlap = iou_matrix(sample, true)
        floors = {
            "acc50": {
                "best constant box": accuracy_at_iou(repeated, true),
                "blank phrase": phrase_blind.metrics[split]["acc50"],
            },
            "mean_iou": {
                "best constant box": float(paired_iou(repeated, true).mean()),
                "blank phrase": phrase_blind.metrics[split]["mean_iou"],
            },
        }
        chances = {"acc50": float((overlap >= 0.5).mean()), "mean_iou": float(overlap.mean())}
        for metric, value in tuned.metrics[split].items():
            result.add(f"grounding/{split}/{metric}", value, chances[metric], len(rows), seed, floors[metric])
            result.add(
                f"grounding/{split}/{metric}_zero_shot",
                zero_shot[split][metric],
                chances[metric],
                len(rows),
                seed,
            )
        result.examples[split] = plain(_examples(context, rows, tuned.predictions[split]))
    result.curves = {"grounding": tuned.losses, "grounding, blank phrase": phrase_blind.losses}
    return result


def _boxes(rows: Sequence[Reference]) -> Array:
    """[N, 4] true boxes (left, top, right, bottom) as fractions."""
    return np.array([row.box for row in rows], dtype=np.float64)


def _examples(
    context: Context, rows: Sequence[Reference], predicted: Sequence[tuple[float, float, float, float]]
) -> list[GroundingExample]:
    overlap = paired_iou(np.array(predicted), _boxes(rows))
    return [
        GroundingExample(
            context.relative(rows[place].image),
            rows[place].phrase,
            rows[place].box,
            predicted[place],
            float(overlap[place]),
        )
        for place in pick_examples((overlap >= 0.5).tolist(), SHOWN, context.config.seed)
    ]
