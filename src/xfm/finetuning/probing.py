"""The probe of `--preset fast`: frozen encoders, and a linear layer that is fitted to what they say at once.
Classes have logistic regression, values ridge regression; the penalty is chosen on the validation rows."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xfm.config.task import HeadKind, ImageHead
from xfm.config.task_spec import TaskSpec
from xfm.finetuning.early_stopping import require_metric
from xfm.finetuning.frozen_features import deviations_of
from xfm.finetuning.logistic import Regression
from xfm.metrics.classification import Array
from xfm.models.heads import HeadInputs
from xfm.models.precision import autocast
from xfm.models.task_models import Classifier
from xfm.tasks.base import AnyTask, TaskSettings
from xfm.tasks.class_task import ClassTask
from xfm.tasks.text_classification import values_of

PENALTIES = tuple(10.0**exponent for exponent in range(-5, 2))
"""Values of C for classes, as scikit-learn has it, of standardised features; the ridge takes their inverses.
"""
DEFAULT = 0.01
"""Where no validation rows choose."""
BATCH, MOST = 64, 50_000
"""Rows that are encoded together, and training rows that are fitted: of more, so many are drawn."""
NEVER = -30.0
"""Logit of a class that no row has."""


Features = tuple[Sequence[Any], Array]
"""Rows, and what the encoders say of each: [N, F] float32."""


@dataclass(frozen=True)
class LinearFit:
    """Weight [C, F] and bias [C] float32 on features as they are; `penalty` is C (of a ridge the inverse of
    its penalty)."""

    weight: Tensor
    bias: Tensor
    penalty: float
    note: str

    def predictions(self, task: AnyTask, features: Array) -> list[Any]:
        """What the layer says of [N, F] features, as the task's predictions."""
        logits = torch.from_numpy(features) @ self.weight.T + self.bias
        return task.labels.predictions(logits) if isinstance(task, ClassTask) else logits[:, 0].tolist()


def has_probe(spec: TaskSpec) -> bool:
    """Whether a task has classes or values, and a head that a linear layer can stand in for."""
    head = spec.head_class()
    return spec.classes and issubclass(head, Classifier) and head.features is not Classifier.features


def probe_settings(settings: TaskSettings) -> TaskSettings:
    """The same for a task with a probe in place of its head."""
    return replace(settings, head=HeadKind.PROBE, image_head=ImageHead.LINEAR)


def fit_task(task: AnyTask, valid: Sequence[Any], choose_by: str = "") -> LinearFit:
    """Fit the probe of a task in place; validation rows choose the penalty."""
    task.module.eval()
    chosen = encoded(task, valid)
    rows, note = drawn(task.train_rows, task.settings.seed)
    fit = fit_linear(task, encoded(task, rows), chosen, choose_by)
    fit = replace(fit, note="; ".join(filter(None, (fit.note, note))))
    with torch.no_grad():
        task.module.head.weight.copy_(fit.weight)
        task.module.head.bias.copy_(fit.bias)
    if not isinstance(task, ClassTask):  # the layer gives the values themselves
        vars(task).update(mean=0.0, deviation=1.0)
    elif len(valid):
        task.settle(valid, fit.predictions(task, chosen[1]))
    return fit


def drawn(rows: Sequence[Any], seed: int, most: int = MOST) -> tuple[Sequence[Any], str]:
    """At most so many of the rows, drawn by the seed, and in words what was left out."""
    if len(rows) <= most:
        return rows, ""
    chosen = np.sort(np.random.default_rng(seed).choice(len(rows), most, replace=False))
    return [rows[place] for place in chosen.tolist()], f"{most:,} of {len(rows):,} training rows"


def encoded(task: AnyTask, rows: Sequence[Any]) -> Features:
    """Features of rows; those of one picture and of like lengths are encoded together."""
    shown = [tuple(map(str, task.images_of(row))) for row in rows]
    lengths = [sum(map(len, task.texts_of(row))) for row in rows]
    order = sorted(range(len(rows)), key=lambda place: (shown[place], lengths[place]))
    if not order:
        return (), np.zeros((0, 1), dtype=np.float32)
    settings, module, values = task.settings, task.module, list[Array]()
    with task.predicting():
        for first in range(0, len(order), BATCH):
            batch = task.collate([rows[place] for place in order[first : first + BATCH]]).to(settings.device)
            with autocast(settings.precision, settings.device):
                image = None if batch.pixels is None else module.encode_image(batch.pixels)
                found = module.features(HeadInputs(batch.tokens, image, batch.index))
            values.append(found.float().cpu().numpy())
    return rows, np.concatenate(values)[np.argsort(order)]


def fit_linear(
    task: AnyTask, train: Features, valid: Features, choose_by: str = "", penalties: Sequence[float] = ()
) -> LinearFit:
    """Fit a layer for each penalty and take the best by the task's metric (or `choose_by`), of equal ones the
    more certain; `DEFAULT` without validation rows."""
    tried = penalties or (PENALTIES if len(valid[0]) else (DEFAULT,))
    fits = _fit_classes(task, *train, tried) if isinstance(task, ClassTask) else _fit_values(*train, tried)
    if len(tried) == 1:
        why = "given" if penalties else "there are no validation rows to choose it by"
        return replace(fits[0], note=f"C = {tried[0]:g}, {why}")
    best = max(fits, key=lambda fit: (*_score(task, fit, *valid, choose_by), -fit.penalty))
    return replace(best, note=f"C = {best.penalty:g}, chosen on the validation rows")


def _score(
    task: AnyTask, fit: LinearFit, rows: Sequence[Any], features: Array, choose_by: str
) -> tuple[float, float]:
    found = fit.predictions(task, features)
    metrics = task.validation_metrics(rows, found)
    if choose_by:
        require_metric(task, choose_by, metrics)
    if isinstance(task, ClassTask):
        second = task.labels.likelihood(task.truths_of(rows), found)
    else:
        second = -float(np.mean((np.array(found) - values_of(rows)) ** 2))
    return metrics[choose_by or task.primary], second


def _fit_classes(
    task: ClassTask[Any], rows: Sequence[Any], values: Array, penalties: Sequence[float]
) -> list[LinearFit]:
    labels = task.labels.targets(task.truths_of(rows)).numpy()
    count = len(task.labels.names)
    present, codes = np.arange(count), labels
    if labels.ndim == 1:
        present, codes = np.unique(labels, return_inverse=True)
    if len(present) == 1:  # of very few rows
        bias = torch.full((count,), NEVER)
        bias[present[0]] = 0.0
        return [LinearFit(torch.zeros(count, values.shape[1]), bias, penalties[0], "")]
    weights = None if task.weight is None else task.weight.numpy()[present]
    regression, start = Regression(values, codes, len(present), deviations_of(values), weights), None
    found: list[LinearFit] = []
    for penalty in sorted(penalties):
        start = regression.fit(penalty, start, tolerance=1e-4, max_iterations=300)
        weight, bias = torch.zeros(count, values.shape[1]), torch.full((count,), NEVER)
        weight[present], bias[present] = start.weight.T, start.bias
        found.append(LinearFit(weight, bias, penalty, ""))
    return found


def _fit_values(rows: Sequence[Any], given: Array, penalties: Sequence[float]) -> list[LinearFit]:
    values = values_of(rows)
    mean, deviation = given.mean(axis=0, dtype=np.float64), deviations_of(given)
    table = (given - mean) / deviation
    eigenvalues, vectors = np.linalg.eigh(table.T @ table)
    along = vectors.T @ (table.T @ (values - values.mean()))
    found: list[LinearFit] = []
    for penalty in penalties:
        own = vectors @ (along / (np.maximum(eigenvalues, 0.0) + 1.0 / penalty)) / deviation  # [F]
        bias = np.array([values.mean() - own @ mean])
        weight = torch.from_numpy(own[None]).float()
        found.append(LinearFit(weight, torch.from_numpy(bias).float(), penalty, ""))
    return found
