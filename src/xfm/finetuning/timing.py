"""How long a run takes, and what a time limit leaves to its trainings, by its real rows and settings."""

import math
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from tqdm import tqdm

from xfm.finetuning.baselines.material import LEAST_BUDGET, Material
from xfm.finetuning.baselines.strong import strong_baselines
from xfm.finetuning.budget import Budget, TimeShare, keep_share, kept_share
from xfm.finetuning.folds import fold_data, fold_rows, kept_together, strata_of
from xfm.finetuning.plan import task_settings
from xfm.finetuning.probing import probe_settings
from xfm.finetuning.session import AnyTask, Session
from xfm.finetuning.speed import Amounts, TuningSpeed, line, measured

SAMPLES = (64, 192)
"""Training rows on which strong baselines are timed: what they take of all lies on a line through both."""


def amounts_of(run: Session) -> Amounts:
    """How much of what is slow a run does."""
    config, data, folds = run.config, run.data, run.config.folds or 0
    train, valid, test = len(data.train), len(data.valid), sum(map(len, run.tests.values()))
    if folds:  # of each
        test = math.ceil(train / folds)
        valid = round((train - test) * config.valid_share)
        train -= test + valid
    modalities = run.type.single(data.train) if config.baseline and not folds else {}
    steps = 0 if run.probed else config.steps
    looks = math.ceil(steps / config.evaluate_every) if valid else 0
    saves = steps // max(config.evaluate_every, config.steps // 10, 1)
    shorter = min(steps, config.baseline_steps or steps)
    return Amounts(steps, looks, saves, train, valid, test, len(modalities), shorter, folds)


def fresh_task(run: Session) -> AnyTask:
    """The run's task before any training, on rows as a training has them."""
    data, settings = run.data, task_settings(run.config)
    if folds := run.config.folds:
        groups, strata = kept_together(run.type, data.train), strata_of(run.type, data.train)
        held = fold_rows(groups, strata, folds, run.config.seed)[0]
        data = fold_data(run.type, data, held, run.config.valid_share, run.config.seed)
    return run.type(run.pretrained, run.pictures, data, probe_settings(settings) if run.probed else settings)


def speed_of(run: Session) -> TuningSpeed:
    """The speed of a run here, by a few real steps and predictions that are thrown away."""
    return measured(fresh_task(run), run.config, run.data.train, run.probed)


def limited(run: Session, budget: Budget, out: Path, resume: bool) -> Session:
    """The run with what the time limit leaves: seconds of each training, and steps that fit into them.

    What is decided stands in `budget.json`; a run that goes on has it from there.

    Raises:
        UserError: that file is missing.
    """
    if not budget.minutes:
        return run
    if resume:
        share = kept_share(out)
    else:
        share = budget.share(speed_of(run), amounts_of(run), run.config.baseline)
        keep_share(out, share)
    if run.progress:
        what = f"at most {share.steps:,} steps and " if not run.probed else ""
        said = f"{share.minutes:.3g} minutes in all: {what}{share.seconds:.0f} s for each training"
        tqdm.write(f"Time limit: {said}.", file=sys.stderr)
    return with_share(run, share)


def with_share(run: Session, share: TimeShare) -> Session:
    """The run with the steps, looks and seconds of a share."""
    config = run.config
    if not run.probed:
        every = max(1, math.ceil(share.steps / share.looks))
        config = replace(config, steps=share.steps, evaluate_every=every)
    return replace(run, config=config, limit=share.seconds)


def baseline_seconds(run: Session, task: AnyTask) -> float:
    """What the strong baselines will take, by two small samples of the rows.

    Args:
        run: with all rows.
        task: that scores.
    """
    if not run.config.baseline:
        return 0.0
    rows, amounts = run.data.train, amounts_of(run)
    sizes = [min(size, amounts.train) for size in SAMPLES]
    taken = [_timed_baselines(run, task, size) for size in sizes]
    first, last = zip(sizes, taken, strict=True)
    return line((first[0], last[0]), (first[1], last[1]), min(amounts.train, len(rows)))


def _timed_baselines(run: Session, task: AnyTask, size: int) -> float:
    amounts, order = amounts_of(run), np.random.default_rng(run.config.seed).permutation(len(run.data.train))
    rows = [run.data.train[place] for place in order.tolist()]
    share = size / max(1, amounts.train)
    valid, test = (max(2, round(share * count)) for count in (amounts.valid, amounts.test))
    parts = rows[:size], rows[-valid:], {"test": rows[-test:]}
    began = time.perf_counter()
    material = Material(task, run.pretrained, run.pictures, *parts, LEAST_BUDGET)
    strong_baselines(material, False)
    return time.perf_counter() - began
