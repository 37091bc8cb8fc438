"""How fast a fine-tuning is here: a few real steps and predictions, which are thrown away."""

import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from xfm.config.finetune import FinetuneConfig
from xfm.finetuning.adapt import adapt
from xfm.finetuning.plan import training_config
from xfm.finetuning.probing import encoded
from xfm.models.weights import write_tensors
from xfm.tasks.base import Task, seeded
from xfm.training.checkpoint import unique_state
from xfm.training.clock import TrainingClock
from xfm.training.trainer import Trainer

STEPS, ROWS = 6, 64
"""Steps that are timed, after one that is not, and rows that are predicted."""
STATES = 3.0
"""Tensors of a checkpoint for each of the model: AdamW has two beside it."""
Clock = Callable[[], float]


@dataclass(frozen=True)
class TuningSpeed:
    """Seconds of what a fine-tuning does again and again.

    Attributes:
        step: a step of the training; 0 where nothing is trained.
        row: the prediction, or encoding, of a row.
        save: writing the weights once.
        memory: most bytes that the process, or its accelerator, had in use.
    """

    step: float
    row: float
    save: float
    memory: int


@dataclass(frozen=True)
class Amounts:
    """How much of it a run does.

    Attributes:
        steps: optimiser steps; 0 for a probe.
        looks: at the validation rows.
        saves: checkpoints.
        train, valid, test: rows.
        modalities: trainings without one modality beside the main one.
        modality_steps: steps of each.
        folds: of a cross-validation; 0 for none.
    """

    steps: int
    looks: int
    saves: int
    train: int
    valid: int
    test: int
    modalities: int = 0
    modality_steps: int = 0
    folds: int = 0


@dataclass(frozen=True)
class Estimate:
    """Seconds of the parts of a run.

    Attributes:
        start: imports, model and tables.
        training: steps.
        looking: predictions of validation rows, and weights that are kept.
        scoring: predictions of test rows, intervals and the report.
        modalities: trainings without a modality.
        baselines: strong simple baselines.
        sure: whether the training cannot end before its steps.
    """

    start: float
    training: float
    looking: float
    scoring: float
    modalities: float
    baselines: float
    sure: bool = False

    @property
    def low(self) -> float:
        """Seconds if every training stops half-way, as patience may have it."""
        spared = 0.0 if self.sure else (self.training + self.looking + self.modalities) / 2
        return self.high - spared

    @property
    def high(self) -> float:
        """Seconds of all steps."""
        rest = self.start + self.scoring + self.baselines  # what no early end spares
        return rest + self.training + self.looking + self.modalities

    @property
    def seconds(self) -> float:
        """What is told: between the two, so that neither is farther away than by half."""
        return (self.low * self.high) ** 0.5


def estimate(
    speed: TuningSpeed, amounts: Amounts, start: float, fixed: float, baselines: float, sure: bool = False
) -> Estimate:
    """What a run takes.

    Args:
        speed: measured.
        amounts: of the run.
        start: seconds until the training begins.
        fixed: seconds of intervals and report.
        baselines: seconds of the strong ones, once.
        sure: whether the training cannot end before its steps.
    """
    runs = max(1, amounts.folds)
    training = speed.step * amounts.steps or speed.row * (amounts.train + amounts.valid)
    looking = amounts.looks * (speed.row * amounts.valid + speed.save) + amounts.saves * STATES * speed.save
    share = amounts.modality_steps / amounts.steps if amounts.steps else 1.0
    modality = (training + looking) * share + speed.row * amounts.test
    final = training if amounts.folds else 0.0  # the model of all rows looks at none
    return Estimate(
        start,
        runs * training + final,
        runs * looking,
        runs * speed.row * amounts.test + fixed,
        amounts.modalities * modality,
        runs * baselines,
        sure,
    )


def line(sizes: tuple[float, float], seconds: tuple[float, float], size: float) -> float:
    """What takes so long for two sizes, for a third one: along a line, never falling and never below 0."""
    (small, large), (first, second) = sizes, seconds
    slope = max(0.0, (second - first) / (large - small)) if large > small else 0.0
    return max(0.0, second + slope * (size - large))


def measured(
    task: Task[Any, Any, Any],
    config: FinetuneConfig,
    rows: Sequence[Any],
    probe: bool,
    clock: Clock = time.perf_counter,
) -> TuningSpeed:
    """The speed of a task, whose module is of no use afterwards.

    Args:
        task: with its training rows.
        config: fitted.
        rows: to predict or encode.
        probe: whether nothing is trained.
        clock: gives seconds.
    """
    chosen = [rows[place] for place in range(0, len(rows), max(1, len(rows) // ROWS))][:ROWS]
    step = 0.0 if probe else _step(task, config, clock)
    task.module.eval()
    work = (lambda: encoded(task, chosen)) if probe else (lambda: task.predict(chosen))
    if probe:
        work()  # the first pass of a process is slow
    began = clock()
    work()
    row = (clock() - began) / max(1, len(chosen))
    return TuningSpeed(step, row, 0.0 if probe else _save(task, clock), used_memory(task.settings.device))


def _step(task: Task[Any, Any, Any], config: FinetuneConfig, clock: Clock) -> float:
    with seeded(task.settings.seed):
        adapt(task.module, config.tune)
    short = replace(config, steps=STEPS + 1)
    training, device = TrainingClock(short.steps, timer=clock), task.settings.device
    settings, is_new = training_config(short, task.settings), task.is_new
    loss = lambda model, batch, generator: task.loss(batch, generator)  # noqa: E731
    Trainer(task.module, loss, task.batches, settings, clock=training, is_new=is_new, device=device).fit()
    ends = [moment.seconds for moment in training.moments]
    return (ends[-1] - ends[1]) / max(1, len(ends) - 2)


def _save(task: Task[Any, Any, Any], clock: Clock) -> float:
    with TemporaryDirectory() as folder:
        began = clock()
        write_tensors(Path(folder) / "weights", unique_state(task.module))
        return clock() - began


def used_memory(device: str) -> int:
    """Most bytes in use so far: of the accelerator, or of this process."""
    if torch.device(device).type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
