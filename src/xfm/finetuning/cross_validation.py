"""Cross-validation of a small table: every row is scored by a model that did not learn from it."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, NamedTuple

from tqdm import tqdm

from xfm.config.finetune import Preset
from xfm.finetuning.baselines.strong import PROBE, BaselineResult, scored
from xfm.finetuning.leaderboard import Leaderboard, System, SystemKind, compare, strong_of, systems_of
from xfm.finetuning.probing import has_probe
from xfm.finetuning.session import AnyTask, Session, clear
from xfm.finetuning.splits import fold_data, fold_rows, kept_together, strata_of
from xfm.tasks.base import HiddenInput
from xfm.tasks.class_task import ClassTask
from xfm.training.checkpoint import list_checkpoints
from xfm.training.run_folder import require_run

CROSS, FOLDS_FOLDER, TUNED = "cross-validation", "folds", "fine-tuning"


@dataclass(frozen=True)
class Fold:
    """A fold, from 1: rows scored, learned from and choosing the step; best step (0: a probe), metrics, and a
    probe's metric beside it."""

    number: int
    rows: int
    train: int
    valid: int
    step: int
    metrics: Mapping[str, float]
    probe: float | None = None


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


@dataclass
class _Candidate:
    """A fine-tuning or a probe, out of fold: predictions by place; of every fold the best step or C,
    temperature (1: none) and threshold (0: none)."""

    predictions: dict[int, Any] = field(default_factory=dict)
    settled: list[float] = field(default_factory=list)
    scales: list[tuple[float, float]] = field(default_factory=list)


class _TrainedFold(NamedTuple):
    fold: Fold
    task: AnyTask
    strong: dict[str, BaselineResult]
    missing: Mapping[str, str]


def cross_validate(run: Session, resume: bool) -> CrossValidation:
    """Train a model a fold, and choose how that of all rows is made. A resumed run predicts finished folds
    again."""
    if resume and not run.probed and not (run.out / FOLDS_FOLDER).is_dir():
        require_run(run.out)
    config, rows, tests = run.config, run.data.train, {CROSS: run.data.train}
    groups, strata = kept_together(run.type, rows), strata_of(run.type, rows)
    parts = fold_rows(groups, strata, config.folds or 0, config.seed)
    approaches = {PROBE if run.probed else TUNED: _Candidate()}
    if config.preset is Preset.BEST and has_probe(run.type.spec):
        approaches[PROBE] = _Candidate()
    trained: list[_TrainedFold] = []
    for number, held in enumerate(parts, start=1):
        if run.progress:
            tqdm.write(f"Fold {number} of {len(parts)}: {len(held):,} rows", file=sys.stderr)
        data = fold_data(run.type, run.data, held, config.valid_share, config.seed)
        own = replace(run, data=data, out=run.out / FOLDS_FOLDER / str(number))
        trained.append(_train_fold(own, number, held, approaches, resume))
    task = trained[-1].task
    missing = {name: why for one in trained for name, why in one.missing.items()}
    ordered = {name: _in_order(one.predictions) for name, one in approaches.items()}
    made = {name: scored(task, tests, {CROSS: found}) for name, found in ordered.items()}
    values = {name: found.metrics[CROSS][task.primary] for name, found in made.items()}
    best = max(values, key=lambda name: values[name])  # of equal ones the first
    joined = _joined(task, rows, parts, [one.strong for one in trained])
    if best == PROBE:
        joined.pop(PROBE, None)
    systems = systems_of(made[best], joined, {})
    if best == PROBE and TUNED in made:
        systems.append(System("the fine-tuning, which was not chosen", SystemKind.ABLATION, made[TUNED]))
    if run.type.single(rows):
        missing["trainings without one modality"] = "cross-validation leaves them out"
    boards = compare(task, tests, systems, missing)
    final, how = _final(run, best, approaches[best])
    if len(values) > 1:
        listed = " and ".join(f"{name} {value:.3f}" for name, value in values.items())
        how = f"{how}. Chosen by {task.primary} over all folds: {listed}"
    others = {name: found.metrics[CROSS] for name, found in joined.items()}
    return CrossValidation(
        rows, ordered[best], boards, others, tuple(one.fold for one in trained), final, how
    )


def _train_fold(
    own: Session, number: int, held: Sequence[int], approaches: Mapping[str, _Candidate], resume: bool
) -> _TrainedFold:
    values: dict[str, dict[str, float]] = {}
    tasks: list[AnyTask] = []
    seconds, step = 0.0, 0
    for name, approach in approaches.items():
        run = own
        if name == PROBE:
            run = replace(own, config=replace(own.config, preset=Preset.FAST), out=own.out / "probe")
        task, tuned = run.tuned(HiddenInput.NOTHING, run.out, resume and bool(list_checkpoints(run.out)))
        task.finish()
        found = task.predict(own.data.test)
        approach.predictions.update(zip(held, found, strict=True))
        settled = tuned.probe.penalty if tuned.probe else float(tuned.best.step if tuned.best else tuned.step)
        approach.settled.append(settled)
        labelled = isinstance(task, ClassTask)
        approach.scales.append((task.module.task.temperature, task.labels.threshold) if labelled else (1, 0))
        values[name] = task.metrics(own.data.test, found)
        if not tasks:
            seconds, step = tuned.seconds, 0 if tuned.probe else int(settled)
        tasks.append(task)
    first = tasks[0]
    probe = values[PROBE][first.primary] if len(values) > 1 else None
    counts = len(held), len(own.data.train), len(own.data.valid)
    fold = Fold(number, *counts, step, next(iter(values.values())), probe)
    return _TrainedFold(fold, first, *strong_of(own, first, {CROSS: own.data.test}, seconds))


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


def _final(run: Session, name: str, best: _Candidate) -> tuple[Session, str]:
    middle = statistics.median_low(best.settled)
    temperature, threshold = map(statistics.median_low, zip(*best.scales, strict=True))
    config = replace(run.config, folds=0, threshold=threshold)
    given = f", threshold {threshold:.3g} likewise" if threshold else ""
    run = replace(run, config=config, temperature=temperature)
    if name == PROBE:
        run = replace(run, config=replace(config, preset=Preset.FAST), penalty=middle)
        return run, f"The model is a probe of all rows, C = {middle:g} as the folds have it{given}"
    steps = max(1, int(middle))
    listed = ", ".join(f"{step:,.0f}" for step in sorted(best.settled))
    run = replace(run, config=replace(config, steps=steps, evaluate_every=steps))
    said = f"The model learned from all rows for {steps:,} steps, the median of the folds' best"
    return run, f"{said} ({listed}){given}"


def clear_folds(out: Path) -> None:
    """Remove what only an unfinished cross-validation needs."""
    for folder in sorted((out / FOLDS_FOLDER).glob("*")):
        clear(folder)
