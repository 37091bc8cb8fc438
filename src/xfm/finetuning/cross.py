"""Cross-validation of a small table: every row is scored by a model that did not learn from it."""

import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.finetune import Preset
from xfm.finetuning.baselines.frozen import PROBE
from xfm.finetuning.baselines.strong import BaselineResult, scored
from xfm.finetuning.folds import fold_data, fold_rows, kept_together, strata_of
from xfm.finetuning.leaderboard import Leaderboard, System, SystemKind, compare, strong_of, systems_of
from xfm.finetuning.probing import has_probe
from xfm.finetuning.session import AnyTask, Session, clear
from xfm.finetuning.tuning_run import TuningRun
from xfm.tasks.base import Blanked
from xfm.tasks.class_task import ClassTask
from xfm.training.checkpoint import list_checkpoints
from xfm.training.run_folder import require_run

CROSS, FOLDS_FOLDER = "cross-validation", "folds"
TUNED = "fine-tuning"
SPARED = {"trainings without one modality": "cross-validation leaves them out"}


@dataclass(frozen=True)
class Fold:
    """A fold of the table.

    Attributes:
        number: from 1.
        rows: that were scored.
        train, valid: rows that were learned from, and that chose the step.
        step: the best one; 0 for a probe.
        metrics: of the model on the fold's rows.
        probe: the primary metric of the probe, where it stood beside the fine-tuning as an approach.
    """

    number: int
    rows: int
    train: int
    valid: int
    step: int
    metrics: Mapping[str, float]
    probe: float | None = None


@dataclass(frozen=True)
class Approach:
    """An approach to making a model, scored out of fold.

    Attributes:
        name: in words.
        predictions: one for each row of the table.
        settled: best step of every fold, or C of every fold's probe.
        scales: temperature and threshold of every fold's model; 1 and 0 where there are none.
        value: the primary metric over all rows.
    """

    name: str
    predictions: list[Any]
    settled: tuple[float, ...]
    scales: tuple[tuple[float, float], ...]
    value: float


@dataclass(frozen=True)
class CrossValidated:
    """The folds of a table, and how the model of all rows is made.

    Attributes:
        rows: of the table.
        predictions: of the chosen approach, one for each row.
        boards: it among baselines, all of them out of fold.
        others: metrics of the baselines.
        folds: each by itself.
        final: the run that makes the model of all rows.
        chosen: what was chosen and why, in words.
    """

    rows: Sequence[Any]
    predictions: list[Any]
    boards: dict[str, Leaderboard]
    others: dict[str, Mapping[str, float]]
    folds: tuple[Fold, ...]
    final: Session
    chosen: str

    def plain_folds(self) -> list[dict[str, Any]]:
        """As `evaluation.json` has them."""
        return [asdict(fold) for fold in self.folds]


@dataclass
class _Gathered:
    """What the folds give, as they are done."""

    predictions: dict[str, dict[int, Any]]
    settled: dict[str, list[float]]
    scales: dict[str, list[tuple[float, float]]]
    strong: list[Mapping[str, BaselineResult]] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)
    folds: list[Fold] = field(default_factory=list)

    def add(self, own: Session, held: Sequence[int], resume: bool) -> AnyTask:
        """Train and score the models of a fold; returns the task of the first one."""
        values: dict[str, dict[str, float]] = {}
        first: AnyTask | None = None
        for name in self.predictions:
            task, tuned = _approach(own, name, resume)
            found = task.predict(own.data.test)
            self.predictions[name] |= dict(zip(held, found, strict=True))
            self.settled[name].append(_settled(tuned))
            scales = (
                (task.module.task.temperature, task.labels.threshold)
                if isinstance(task, ClassTask)
                else (1, 0)
            )
            self.scales[name].append(scales)
            values[name] = task.metrics(own.data.test, found)
            if first is None:
                first = task
                beside, why = strong_of(own, task, {CROSS: own.data.test}, tuned.seconds)
                self.strong.append(beside)
                self.missing |= why
        assert first is not None
        names, number = [*values], len(self.folds) + 1
        probe = values[PROBE][first.primary] if len(names) > 1 else None
        step = int(self.settled[TUNED][-1]) if TUNED in self.settled else 0
        counts = len(held), len(own.data.train), len(own.data.valid)
        self.folds.append(Fold(number, *counts, step, values[names[0]], probe))
        return first

    def joined(
        self, task: AnyTask, rows: Sequence[Any], parts: Sequence[Sequence[int]]
    ) -> dict[str, BaselineResult]:
        found: dict[str, BaselineResult] = {}
        for name in self.strong[0]:
            if not all(name in own for own in self.strong):
                continue
            by_place: dict[int, Any] = {}
            for held, own in zip(parts, self.strong, strict=True):
                by_place |= dict(zip(held, own[name].predictions[CROSS], strict=True))
            ordered = [by_place[place] for place in range(len(rows))]
            seconds = sum(own[name].seconds or 0.0 for own in self.strong)
            found[name] = scored(task, {CROSS: rows}, {CROSS: ordered}, seconds, self.strong[0][name].note)
        return found


def cross_validate(run: Session, resume: bool) -> CrossValidated:
    """Train a model for each fold, and choose how the one of all rows is made.

    Args:
        run: with all rows as training rows, and the number of folds in its configuration.
        resume: go on with folds that were begun; those that are done are predicted again.

    Raises:
        UserError: there is nothing to go on with.
    """
    if resume and not run.probed and not (run.out / FOLDS_FOLDER).is_dir():
        require_run(run.out)
    config, rows = run.config, run.data.train
    groups, strata = kept_together(run.type, rows), strata_of(run.type, rows)
    parts = fold_rows(groups, strata, config.folds or 0, config.seed)
    names = [PROBE] if run.probed else [TUNED]
    if config.preset is Preset.BEST and has_probe(run.type.spec):
        names.append(PROBE)
    found = _Gathered(
        {name: {} for name in names}, {name: [] for name in names}, {name: [] for name in names}
    )
    task: AnyTask | None = None
    for number, held in enumerate(parts, start=1):
        if run.progress:
            tqdm.write(f"Fold {number} of {len(parts)}: {len(held):,} rows", file=sys.stderr)
        task = found.add(_fold_run(run, held, number), held, resume)
    assert task is not None
    approaches: list[Approach] = []
    for name, own in found.predictions.items():
        ordered = [own[place] for place in range(len(rows))]
        value = task.metrics(rows, ordered)[task.primary]
        chosen = tuple(found.settled[name]), tuple(found.scales[name])
        approaches.append(Approach(name, ordered, *chosen, value))
    strong = found.joined(task, rows, parts)
    return _chosen(run, task, approaches, strong, found.missing, found.folds)


def _fold_run(run: Session, held: Sequence[int], number: int) -> Session:
    config = run.config
    data = fold_data(run.type, run.data, held, config.valid_share, config.seed)
    return replace(run, data=data, out=run.out / FOLDS_FOLDER / str(number))


def _approach(own: Session, name: str, resume: bool) -> tuple[AnyTask, TuningRun]:
    if name == PROBE:
        own = replace(own, config=replace(own.config, preset=Preset.FAST), out=own.out / "probe")
    task, tuned = own.tuned(Blanked.NOTHING, own.out, resume and bool(list_checkpoints(own.out)))
    task.finish()
    return task, tuned


def _settled(tuned: TuningRun) -> float:
    """What the model of all rows takes over from a fold: its best step, or its penalty."""
    if tuned.probe is not None:
        return tuned.probe.penalty
    return float(tuned.best.step if tuned.best else tuned.step)


def _chosen(
    run: Session,
    task: AnyTask,
    approaches: Sequence[Approach],
    strong: dict[str, BaselineResult],
    missing: Mapping[str, str],
    folds: Sequence[Fold],
) -> CrossValidated:
    best = max(approaches, key=lambda one: one.value)  # of equal ones the first
    rows, tests = run.data.train, {CROSS: run.data.train}
    made = {one.name: scored(task, tests, {CROSS: one.predictions}) for one in approaches}
    if best.name == PROBE:
        strong.pop(PROBE, None)
    systems = systems_of(made[best.name], strong, {})
    if best.name == PROBE and TUNED in made:
        systems.append(System("the fine-tuning, which was not chosen", SystemKind.ABLATION, made[TUNED]))
    boards = compare(task, tests, systems, {**missing, **(SPARED if run.type.single(rows) else {})})
    others = {name: found.metrics[CROSS] for name, found in strong.items()}
    final, how = _final(run, best)
    if len(approaches) > 1:
        values = " and ".join(f"{one.name} {one.value:.3f}" for one in approaches)
        how = f"{how}. Chosen by {task.primary} over all folds: {values}"
    return CrossValidated(rows, best.predictions, boards, others, tuple(folds), final, how)


def _final(run: Session, best: Approach) -> tuple[Session, str]:
    middle = statistics.median_low(best.settled)
    temperature, threshold = map(statistics.median_low, zip(*best.scales, strict=True))
    run = replace(run, temperature=temperature)
    config = replace(run.config, folds=0, threshold=threshold)
    given = f", threshold {threshold:.3g} likewise" if threshold else ""
    if best.name == PROBE:
        config = replace(config, preset=Preset.FAST)
        return replace(
            run, config=config, penalty=middle
        ), f"The model is a probe of all rows, C = {middle:g} as the folds have it{given}"
    steps = max(1, int(middle))
    listed = ", ".join(f"{step:,.0f}" for step in sorted(best.settled))
    config = replace(config, steps=steps, evaluate_every=steps)
    return replace(
        run, config=config
    ), f"The model learned from all rows for {steps:,} steps, the median of the folds' best ({listed}){given}"


def clear_folds(out: Path) -> None:
    """Remove what only an unfinished cross-validation needs."""
    for folder in sorted((out / FOLDS_FOLDER).glob("*")):
        clear(folder)
