"""The probe that `--preset fast` makes a model of, as a baseline: frozen encoders and a linear layer."""

from collections.abc import Sequence
from typing import Any

from xfm.config.finetune import FinetuneConfig
from xfm.finetuning.baselines.labels import class_task
from xfm.finetuning.baselines.material import BaselinePredictions, Material
from xfm.finetuning.probing import Features, fit_linear, fit_task, probe_settings
from xfm.tasks.class_task import ClassTask
from xfm.tasks.splits import SplitRows

PROBE = "linear probe of the frozen features"


def probe(material: Material) -> BaselinePredictions:
    """Of texts, or of pictures with texts: fitted as `--preset fast` does it."""
    task = material.task
    labels = task.labels.names if isinstance(task, ClassTask) else ()
    data = SplitRows(material.train, labels=labels)
    own = type(task)(material.pretrained, material.pictures, data, probe_settings(task.settings))
    fit = fit_task(own, material.valid, FinetuneConfig(), budget=material.budget)
    return BaselinePredictions(
        material.predicted(lambda name, rows: own.predict(rows)), material.note, fit.note
    )


def probe_of_pictures(material: Material) -> BaselinePredictions:
    """Of pictures alone, whose features other baselines need, too."""
    seen, task = material.seen, class_task(material)
    labels, valid = task.labels, material.valid

    def features(rows: Sequence[Any]) -> Features:
        shown = [task.pictures_of(row) for row in rows]
        return Features(rows, seen.rows(shown, seen.frozen) if shown else seen.frozen[:0])

    fit = fit_linear(task, features(seen.train), features(valid))

    def answer(rows: Sequence[Any]) -> Sequence[Any]:
        return labels.anew(fit.predictions(task, features(rows).values))

    if len(valid):
        labels = labels.settled(task.truths_of(valid), answer(valid))
    found = material.predicted(lambda name, rows: [*answer(rows)])
    return BaselinePredictions(found, seen.note, fit.note, seen.seconds)
