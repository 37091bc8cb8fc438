"""How long a fine-tuning takes, by some real steps; its time limit, and what that leaves to its trainings."""

import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import torch
from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.finetuning.adapt import adapt
from xfm.finetuning.presets import task_settings, training_config
from xfm.finetuning.probing import encoded, probe_settings
from xfm.finetuning.session import AnyTask, Session
from xfm.finetuning.splits import fold_data, fold_rows, kept_together, strata_of
from xfm.models.weights import write_tensors
from xfm.tasks.base import seeded
from xfm.training.checkpoint import unique_state
from xfm.training.clock import TrainingClock
from xfm.training.trainer import Trainer

STEPS, ROWS = 6, 64
"""Steps that are timed, after one that is not, and rows that are predicted."""
STATES = 3.0
"""Tensors of a checkpoint for each of the model: AdamW has two beside it."""
LEAST, RESERVED, BASELINES = 0.1, 0.15, 0.15
"""Shares of the limit: the training has at least the first; the second is for report, intervals and what
comes unexpected, the third for strong baselines."""


@dataclass(frozen=True)
class TimeLimit:
    """The clock of a command with a limit in minutes (0: none)."""

    minutes: float = 0.0
    clock: Callable[[], float] = time.perf_counter
    began: float = field(default_factory=time.perf_counter)

    @property
    def used(self) -> float:
        """Seconds since the command began."""
        return self.clock() - self.began

    @property
    def left(self) -> float:
        """Seconds that are left; infinitely many without a limit, and never below 0."""
        return max(0.0, 60 * self.minutes - self.used) if self.minutes else inf

    def training(self, trainings: float, scoring: float, baselines: bool) -> float:
        """Seconds of each training, when `scoring` seconds go to predictions."""
        whole = 60 * self.minutes
        kept = (RESERVED + (BASELINES if baselines else 0.0)) * whole
        return max(LEAST * whole, self.left - kept - scoring) / trainings


class Speed(NamedTuple):
    """Seconds of a step, of the prediction of a row, of writing the weights; peak bytes in use."""

    step: float
    row: float
    save: float
    memory: int


class Amounts(NamedTuple):
    """Rows of each training, trainings without one modality beside it, and their share of its steps."""

    train: int
    valid: int
    test: int
    modalities: int
    share: float


def limited(run: Session, limit: TimeLimit) -> Session:
    """The run with what a time limit leaves to each training, by the measured speed of predictions."""
    if not limit.minutes:
        return run
    config, amounts, runs = run.config, amounts_of(run), max(1, run.config.folds or 0)
    task = fresh_task(run)
    task.module.eval()
    scoring = _row_seconds(task, run) * amounts.test * runs * (1 + amounts.modalities)
    trainings = runs * (1 + amounts.modalities * amounts.share) + bool(config.folds)
    seconds = limit.training(trainings, scoring, config.baseline)
    if run.progress:
        said = f"{limit.minutes:.3g} minutes in all, {seconds:.0f} s for each training"
        tqdm.write(f"Time limit: {said}.", file=sys.stderr)
    return replace(run, limit=seconds)


def amounts_of(run: Session) -> Amounts:
    """How much of what is slow a run does."""
    config, data, folds = run.config, run.data, run.config.folds or 0
    train, valid, test = len(data.train), len(data.valid), sum(map(len, run.tests.values()))
    if folds:  # of each
        test = math.ceil(train / folds)
        valid = round((train - test) * config.valid_share)
        train -= test + valid
    modalities = run.type.single(data.train) if config.baseline and not folds else {}
    share = 1.0 if run.probed else min(1.0, (config.baseline_steps or config.steps) / config.steps)
    return Amounts(train, valid, test, len(modalities), share)


def fresh_task(run: Session) -> AnyTask:
    """The run's task before any training, on rows as a training has them."""
    data, settings = run.data, task_settings(run.config)
    if folds := run.config.folds:
        groups, strata = kept_together(run.type, data.train), strata_of(run.type, data.train)
        held = fold_rows(groups, strata, folds, run.config.seed)[0]
        data = fold_data(run.type, data, held, run.config.valid_share, run.config.seed)
    return run.type(run.pretrained, run.pictures, data, probe_settings(settings) if run.probed else settings)


def _row_seconds(task: AnyTask, run: Session) -> float:
    rows = run.data.train
    rows = [rows[place] for place in range(0, len(rows), max(1, len(rows) // ROWS))][:ROWS]
    work = (lambda: encoded(task, rows)) if run.probed else (lambda: task.predict(rows))
    if run.probed:
        work()  # the first pass of a process is slow
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / max(1, len(rows))


def speed_of(run: Session) -> Speed:
    """The speed of a run here, by a few real steps and predictions that are thrown away."""
    task = fresh_task(run)
    device, step, save = task.settings.device, 0.0, 0.0
    if not run.probed:
        step = _step_seconds(task, run.config)
        with TemporaryDirectory() as folder:
            began = time.perf_counter()
            write_tensors(Path(folder) / "weights", unique_state(task.module))
            save = time.perf_counter() - began
    task.module.eval()
    row = _row_seconds(task, run)
    if torch.device(device).type == "cuda":
        return Speed(step, row, save, int(torch.cuda.max_memory_allocated(device)))
    unit = 1 if sys.platform == "darwin" else 1024
    return Speed(step, row, save, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)


def _step_seconds(task: AnyTask, config: FinetuneConfig) -> float:
    with seeded(task.settings.seed):
        adapt(task.module, config.tune)
    short = replace(config, steps=STEPS + 1)
    clock, settings = TrainingClock(short.steps), training_config(short, task.settings)
    loss = lambda model, batch, generator: task.loss(batch, generator)  # noqa: E731
    how = {"clock": clock, "is_new": task.is_new, "device": task.settings.device}
    Trainer(task.module, loss, task.batches, settings, **how).fit()
    ends = [moment.seconds for moment in clock.moments]
    return (ends[-1] - ends[1]) / max(1, len(ends) - 2)
