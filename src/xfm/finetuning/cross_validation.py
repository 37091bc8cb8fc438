"""Cross-validation of a small table: every row is scored by a model that did not learn from it."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tqdm import tqdm

from xfm.finetuning.baselines.strong import BaselineResult, scored
from xfm.finetuning.data import fold_data, fold_rows, kept_together, strata_of
from xfm.finetuning.leaderboard import Leaderboard, compare, strong_of, systems_of
from xfm.finetuning.session import FOLDS_FOLDER, AnyTask, Session
from xfm.tasks.base import HiddenInput
from xfm.tasks.class_task import ClassTask
from xfm.training.checkpoint import list_checkpoints
from xfm.training.run_folder import require_run

CROSS = "cross-validation"


@dataclass(frozen=True)
class Fold:
    """A fold, from 1: rows scored, learned from and choosing the step; best step (0: a probe) and metrics."""

    number: int
    rows: int
    train: int
    valid: int
    step: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class CrossValidation:
    """Out-of-fold predictions, one a row, boards and folds; `final` is the run on all rows, `chosen` says how
    it is made."""

    rows: Sequence[Any]
    predictions: list[Any]
    boards: dict[str, Leaderboard]
    others: dict[str, Mapping[str, float]]
    folds: tuple[Fold, ...]
    final: Session
    chosen: str


def cross_validate(run: Session, resume: bool) -> CrossValidation:
    """Train a model a fold, and say how that of all rows is made. A resumed run predicts finished folds
    again."""
    if resume and not run.probed and not (run.out / FOLDS_FOLDER).is_dir():
        require_run(run.out)
    config, rows, tests = run.config, run.data.train, {CROSS: run.data.train}
    groups, strata = kept_together(run.type, rows), strata_of(run.type, rows)
    parts = fold_rows(groups, strata, config.folds or 0, config.seed)
    by_place: dict[int, Any] = {}
    folds: list[Fold] = []
    tasks: list[AnyTask] = []
    strong: list[dict[str, BaselineResult]] = []
    missing: dict[str, str] = {}
    settled: list[float] = []  # best step, or C of a probe
    scales: list[tuple[float, float]] = []  # temperature (1: none) and threshold (0: none)
    for number, held in enumerate(parts, start=1):
        if run.progress:
            tqdm.write(f"Fold {number} of {len(parts)}: {len(held):,} rows", file=sys.stderr)
        data = fold_data(run.type, run.data, held, config.valid_share, config.seed)
        own = replace(run, data=data, out=run.out / FOLDS_FOLDER / str(number))
        task, tuned = own.tuned(HiddenInput.NOTHING, own.out, resume and bool(list_checkpoints(own.out)))
        task.finish()
        tasks.append(task)
        found = task.predict(data.test)
        by_place.update(zip(held, found, strict=True))
        step = 0 if tuned.probe else tuned.best.step if tuned.best else tuned.step
        settled.append(tuned.probe.penalty if tuned.probe else step)
        labelled = isinstance(task, ClassTask)
        scales.append((task.module.task.temperature, task.labels.threshold) if labelled else (1, 0))
        counts = len(held), len(data.train), len(data.valid)
        folds.append(Fold(number, *counts, step, task.metrics(data.test, found)))
        baselines, absent = strong_of(own, task, {CROSS: data.test}, tuned.seconds)
        strong.append(baselines)
        missing |= absent
    predictions, task = _in_order(by_place), tasks[-1]
    joined = _joined(task, rows, parts, strong)
    if run.type.single(rows):
        missing["trainings without one modality"] = "cross-validation leaves them out"
    systems = systems_of(scored(task, tests, {CROSS: predictions}), joined, {})
    boards = compare(task, tests, systems, missing)
    others = {name: one.metrics[CROSS] for name, one in joined.items()}
    final, how = _final(run, settled, scales)
    return CrossValidation(rows, predictions, boards, others, tuple(folds), final, how)


def _in_order(found: Mapping[int, Any]) -> list[Any]:
    return [found[place] for place in range(len(found))]


def _joined(
    task: AnyTask,
    rows: Sequence[Any],
    parts: Sequence[Sequence[int]],
    strong: Sequence[Mapping[str, BaselineResult]],
) -> dict[str, BaselineResult]:
    """Baselines that every fold has, as one of all rows."""
    found: dict[str, BaselineResult] = {}
    for name in [name for name in strong[0] if all(name in own for own in strong)]:
        by_place: dict[int, Any] = {}
        for held, own in zip(parts, strong, strict=True):
            by_place.update(zip(held, own[name].predictions[CROSS], strict=True))
        seconds = sum(own[name].seconds or 0.0 for own in strong)
        found[name] = scored(task, {CROSS: rows}, {CROSS: _in_order(by_place)}, seconds, strong[0][name].note)
    return found


def _final(
    run: Session, settled: Sequence[float], scales: Sequence[tuple[float, float]]
) -> tuple[Session, str]:
    middle = statistics.median_low(settled)
    temperature, threshold = map(statistics.median_low, zip(*scales, strict=True))
    config = replace(run.config, folds=0, threshold=threshold)
    given = f", threshold {threshold:.3g} likewise" if threshold else ""
    run = replace(run, config=config, temperature=temperature)
    if run.probed:
        said = f"The model is a probe of all rows, C = {middle:g} as the folds have it{given}"
        return replace(run, penalty=middle), said
    steps = max(1, int(middle))
    listed = ", ".join(f"{step:,.0f}" for step in sorted(settled))
    said = f"The model learned from all rows for {steps:,} steps, the median of the folds' best"
    return replace(
        run, config=replace(config, steps=steps, evaluate_every=steps)
    ), f"{said} ({listed}){given}"
