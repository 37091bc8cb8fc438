"""`xfm finetune --dry-run`: what a run would do, by its real rows and some real steps; nothing is written."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from xfm.config.finetune import FinetuneConfig
from xfm.config.tasks import task_spec
from xfm.core.errors import refuse_none
from xfm.core.paths import home_path
from xfm.data.skipped import BAD_FILE
from xfm.data.tables import Table
from xfm.finetuning.data import RowOrigin
from xfm.finetuning.early_stopping import require_metric
from xfm.finetuning.finetune import check_folder, finetune_config, opened, tables_of
from xfm.finetuning.flags import few_rows_hint
from xfm.finetuning.presets import check_applicable, training_config
from xfm.finetuning.session import AnyTask, Session
from xfm.finetuning.start import local_model
from xfm.finetuning.time_limit import TimeLimit, amounts_of, fresh_task, limited, row_seconds
from xfm.finetuning.tuning_run import adapt
from xfm.metrics.numbers import readable_seconds
from xfm.tasks.base import seeded
from xfm.training.clock import TrainingClock
from xfm.training.trainer import Trainer

STEPS = 6
"""Steps that are timed, after one that is not."""
SAMPLED, SHOWN_CLASSES = 1000, 12
"""Validation rows that are predicted for the names of the metrics, and classes that are named."""


@dataclass(frozen=True)
class DryRun:
    """Plan of a run: rows by split, training rows by class, lines to show, seconds by part."""

    rows: Mapping[str, int]
    classes: Mapping[str, int]
    lines: Sequence[tuple[str, str]]
    seconds: Mapping[str, float]

    def __str__(self) -> str:
        listed = ", ".join(f"{name} {readable_seconds(one)}" for name, one in self.seconds.items() if one)
        told = f"about {readable_seconds(sum(self.seconds.values()))} at most ({listed}); "
        time = ("Time", told + "the start, strong baselines and the report are not in it")
        return "\n".join(f"{name + ':':<10}{text}" for name, text in (*self.lines, time))


def dry_run(
    task: str,
    model: Path | str,
    train: Table,
    out: Path | None = None,
    *,
    config: FinetuneConfig | None = None,
    progress: bool = True,
    valid: Table | None = None,
    test: Table | None = None,
    columns: Mapping[str, str] | str = "",
    pictures: Path | str | None = None,
    split: Path | str | None = None,
) -> DryRun:
    """What `xfm.finetune` would do with these arguments, and how long; a few steps are taken and thrown
    away."""
    refuse_none(task=task, model=model, train=train)
    config, spec = finetune_config(config), task_spec(task)
    limit = TimeLimit(config.minutes)
    check_applicable(spec, config)
    if out is not None:
        check_folder(home_path(out), False)
    local_model(model)
    tables = tables_of(train, valid, test, columns, pictures, split)
    with TemporaryDirectory(prefix="xfm-dry-run-") as folder:
        data, origin = opened(task, model, tables, config, Path(folder), progress)
        run = Session.begin(spec.name, home_path(model), data, config, Path(folder), progress, origin)
        return _planned(limited(run, limit), origin)


def _planned(run: Session, origin: RowOrigin) -> DryRun:
    data, config, task = run.data, run.config, fresh_task(run)
    step = 0.0 if run.probed else _step_seconds(task, config)
    task.module.eval()
    row = row_seconds(task, run)
    if config.choose_by and data.valid:
        rows = data.valid[:SAMPLED]
        guessed = task.guess(rows, np.random.default_rng(0))
        require_metric(task, config.choose_by, task.validation_metrics(rows, guessed or task.predict(rows)))
    counts = {"training": len(data.train), "validation": len(data.valid)}
    counts |= {name: len(own) for name, own in data.tests.items()}
    counts = {name: count for name, count in counts.items() if count}
    classes = Counter(name for row in data.train for name in run.type.labels_of(row))
    hint = "" if config.folds else few_rows_hint(run.type.spec, data, origin.tables)
    lines = [("Rows", ", ".join(f"{name} {count:,}" for name, count in counts.items()) + hint)]
    if left_out := run.left_out.sentence(BAD_FILE):
        lines.append(("Left out", left_out))
    if classes:
        shown = [f"{name} {count:,}" for name, count in classes.most_common(SHOWN_CLASSES)]
        more = f", and {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else ""
        lines.append(("Classes", f"{len(classes)}: {', '.join(shown)}{more} (training rows)"))
    lines.append(("Plan", run.summary()))
    if run.limit:
        lines.append(("Limit", f"{config.minutes:.3g} minutes, of which {run.limit:.0f} s for each training"))
    lines += [("Decided", str(one)) for one in run.decisions]
    return DryRun(counts, dict(classes), lines, _seconds(run, step, row))


def _seconds(run: Session, step: float, row: float) -> dict[str, float]:
    """Seconds by part, of those of a step (0: a probe is fitted) and of the prediction of a row."""
    config, amounts, runs = run.config, amounts_of(run), max(1, run.config.folds or 0)
    looks = math.ceil(config.steps / config.evaluate_every) if step and amounts.valid else 0
    training = step * config.steps or row * (amounts.train + amounts.valid)
    training += looks * row * amounts.valid
    training = min(training, run.limit or training)
    predicted = row * amounts.test
    return {
        "training": training * (runs + bool(config.folds)),
        "predictions": predicted * runs,
        "without a modality": amounts.modalities * (training * amounts.share + predicted),
    }


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
