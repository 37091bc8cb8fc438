"""Pairs of texts without fine-tuning: a linear probe on the frozen language encoder."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xfm.evaluation.context import Context
from xfm.evaluation.parts.probes import linear_labels
from xfm.finetuning.session import AnyTask
from xfm.finetuning.split_scores import groups_of
from xfm.frozen.features import LabelledFeatures
from xfm.metrics.classification import Array
from xfm.modeling.features import text_features
from xfm.reports.results import PartResult
from xfm.reports.scores import floors_of
from xfm.tasks.base import Blanked, TaskSettings
from xfm.tasks.rows import LabelledText
from xfm.tasks.text_classification import tokenize_rows


def add_probe_score(
    context: Context, result: PartResult, task: AnyTask, place: str, rows: Sequence[LabelledText]
) -> None:
    """`probe_accuracy` of a linear probe on the frozen token 0, with chance and baselines as of the task."""
    seed, train = task.settings.seed, task.train_rows
    floors = floors_of("accuracy", task.constant_scores(rows))
    floors |= {
        name: float(_probe(context, train, rows, blanked).mean())
        for blanked, name in task.single(train).items()
    }
    right, chance = _probe(context, train, rows, Blanked.NOTHING), task.chance(rows, seed).get("accuracy")
    result.add_rows(f"{place}/probe_accuracy", right, groups_of(task, rows), chance, seed, floors)


def _probe(
    context: Context, train: Sequence[LabelledText], test: Sequence[LabelledText], blanked: Blanked
) -> NDArray[np.float64]:
    """[R] whether a linear probe on the frozen token 0 of the pairs is right."""
    config, size = context.config.probe, context.config.batch_size
    train, settings = list(train)[: config.train_rows or None], TaskSettings(blanked=blanked)

    def features(rows: Sequence[LabelledText]) -> Array:
        parts = (rows[at : at + size] for at in range(0, len(rows), size))
        tokens = (tokenize_rows(part, context.pretrained.tokenizer, settings) for part in parts)
        return text_features(context.encoder, tokens)

    fit = LabelledFeatures(features(train), np.array([row.label for row in train]))
    held_out = LabelledFeatures(features(test), np.array([row.label for row in test]))
    return (linear_labels(fit, held_out, config.inverse_penalty) == held_out.labels).astype(np.float64)
