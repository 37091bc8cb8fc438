"""The time limit of a fine-tuning, and what it leaves to each training."""

import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from math import inf
from typing import NamedTuple

from tqdm import tqdm

from xfm.finetuning.presets import task_settings
from xfm.finetuning.probing import encoded, probe_settings
from xfm.finetuning.session import AnyTask, Session
from xfm.finetuning.splits import fold_data, fold_rows, kept_together, strata_of

ROWS = 64
"""Rows whose prediction is timed."""
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


class TrainingAmounts(NamedTuple):
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
    scoring = row_seconds(task, run) * amounts.test * runs * (1 + amounts.modalities)
    trainings = runs * (1 + amounts.modalities * amounts.share) + bool(config.folds)
    seconds = limit.training(trainings, scoring, config.baseline)
    if run.progress:
        said = f"{limit.minutes:.3g} minutes in all, {seconds:.0f} s for each training"
        tqdm.write(f"Time limit: {said}.", file=sys.stderr)
    return replace(run, limit=seconds)


def amounts_of(run: Session) -> TrainingAmounts:
    """How much of what is slow a run does."""
    config, data, folds = run.config, run.data, run.config.folds or 0
    train, valid, test = len(data.train), len(data.valid), sum(map(len, run.tests.values()))
    if folds:  # of each
        test = math.ceil(train / folds)
        valid = round((train - test) * config.valid_share)
        train -= test + valid
    modalities = run.type.single(data.train) if config.baseline and not folds else {}
    share = 1.0 if run.probed else min(1.0, (config.baseline_steps or config.steps) / config.steps)
    return TrainingAmounts(train, valid, test, len(modalities), share)


def fresh_task(run: Session) -> AnyTask:
    """The run's task before any training, on rows as a training has them."""
    data, settings = run.data, task_settings(run.config)
    if folds := run.config.folds:
        groups, strata = kept_together(run.type, data.train), strata_of(run.type, data.train)
        held = fold_rows(groups, strata, folds, run.config.seed)[0]
        data = fold_data(run.type, data, held, run.config.valid_share, run.config.seed)
    return run.type(run.pretrained, run.pictures, data, probe_settings(settings) if run.probed else settings)


def row_seconds(task: AnyTask, run: Session) -> float:
    """Seconds of the prediction of a row, by some training rows."""
    rows = run.data.train
    rows = [rows[place] for place in range(0, len(rows), max(1, len(rows) // ROWS))][:ROWS]
    work = (lambda: encoded(task, rows)) if run.probed else (lambda: task.predict(rows))
    if run.probed:
        work()  # the first pass of a process is slow
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) / max(1, len(rows))
