"""Pairs of texts without fine-tuning: a linear probe on the frozen language encoder."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xfm.evaluation.context import Context
from xfm.evaluation.probing import Probed, folds_of, probe
from xfm.finetuning.session import AnyTask
from xfm.finetuning.split_scores import groups_of
from xfm.modeling.features import text_features
from xfm.reports.results import OWN, PartResult
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
    for blanked, name in task.single(train).items():
        floors[name] = float(_right(_probe(context, task, rows, blanked), rows).mean())
    own = _probe(context, task, rows, Blanked.NOTHING)
    chance, right = task.chance(rows, seed).get("accuracy"), _right(own, rows)
    result.probes[place.partition("/")[0]] = {OWN: own.chosen}
    result.add_rows(f"{place}/probe_accuracy", right, groups_of(task, rows), chance, seed, floors)


def _probe(context: Context, task: AnyTask, test: Sequence[LabelledText], blanked: Blanked) -> Probed:
    config, size = context.config.probe, context.config.batch_size
    train = list(task.train_rows)[: config.train_rows or None]
    rows, settings = [*train, *test], TaskSettings(blanked=blanked)
    parts = (rows[at : at + size] for at in range(0, len(rows), size))
    tokens = (tokenize_rows(part, context.pretrained.tokenizer, settings) for part in parts)
    views = {"token 0": text_features(context.encoder, tokens)}
    folds = folds_of(groups_of(task, train), context.config.seed)
    return probe(views, np.array([row.label for row in train]), folds, config.inverse_penalties)


def _right(found: Probed, rows: Sequence[LabelledText]) -> NDArray[np.float64]:
    return (found.labels == np.array([row.label for row in rows])).astype(np.float64)
