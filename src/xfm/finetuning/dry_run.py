"""`xfm finetune --dry-run`: what a run would do, by its real rows and some real steps; nothing is written."""

import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from xfm.config.finetune import FinetuneConfig
from xfm.config.pipelines import UrlRules
from xfm.config.tasks import task_spec
from xfm.core.errors import refuse_none
from xfm.core.paths import home_path
from xfm.data.left_out import BAD_FILE
from xfm.data.tables import Table
from xfm.finetuning.baselines.features import LEAST_BUDGET, Material
from xfm.finetuning.baselines.strong import strong_baselines
from xfm.finetuning.data import RowOrigin
from xfm.finetuning.early_stopping import require_metric
from xfm.finetuning.finetune import check_folder, finetune_config, opened, tables_of
from xfm.finetuning.flags import few_rows_hint
from xfm.finetuning.presets import check_applicable
from xfm.finetuning.session import AnyTask, Session
from xfm.finetuning.split_scores import add_scores
from xfm.finetuning.start import local_model
from xfm.finetuning.time_limit import STATES, TimeLimit, amounts_of, fresh_task, limited, speed_of
from xfm.metrics.numbers import readable_seconds
from xfm.reports.scores import PartResult
from xfm.tasks.class_task import ClassTask

SAMPLES = (64, 192)
"""Training rows on which strong baselines are timed: what they take of all lies on a line through both."""
MEASURED, SHOWN_CLASSES = 1000, 12
"""Training texts whose lengths are told, and classes that are named."""
REPORT = 4.0
"""Seconds of the charts and the page, where they are drawn for the first time."""


# ---------------------------------------------------------------- the plan
@dataclass(frozen=True)
class DryRun:
    """Plan of a run: rows by split, training rows by class, token lengths (median, 95th percentile, longest),
    lines to show, seconds by part, and the seconds if all trainings end half-way."""

    rows: Mapping[str, int]
    classes: Mapping[str, int]
    lengths: tuple[int, int, int] | None
    lines: Sequence[tuple[str, str]]
    seconds: Mapping[str, float]
    low: float

    @property
    def minutes(self) -> float:
        """What a run is predicted to take: between half of all steps and all, farther from neither."""
        return (self.low * sum(self.seconds.values())) ** 0.5 / 60

    def __str__(self) -> str:
        return "\n".join(f"{name + ':':<10}{text}" for name, text in (*self.lines, ("Time", self._time())))

    def _time(self) -> str:
        all_steps = sum(self.seconds.values())
        own, low, high = (readable_seconds(one) for one in (60 * self.minutes, self.low, all_steps))
        told = own if low == high else f"{own}: {low} if nothing gets better half-way, {high} at most"
        listed = ", ".join(f"{name} {readable_seconds(one)}" for name, one in self.seconds.items() if one)
        return f"about {told} ({listed})"


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
    allow_urls: bool | Sequence[str] | UrlRules = False,
) -> DryRun:
    """What `xfm.finetune` would do with these arguments, and how long; a few steps are taken and thrown
    away."""
    refuse_none(task=task, model=model, train=train)
    config, spec = finetune_config(config), task_spec(task)
    limit = TimeLimit(config.minutes, began=time.perf_counter() - _process_age())
    check_applicable(spec, config)
    if out is not None:
        check_folder(home_path(out), False)
    local_model(model)
    tables = tables_of(train, valid, test, columns, pictures, split, allow_urls)
    with TemporaryDirectory(prefix="xfm-dry-run-") as folder:
        data, origin = opened(task, model, tables, config, Path(folder), progress)
        run = Session.begin(spec.name, home_path(model), data, config, Path(folder), progress, origin)
        return _planned(run, origin, limit)


def _planned(run: Session, origin: RowOrigin, limit: TimeLimit) -> DryRun:
    start, data, config = limit.used, run.data, run.config
    speed, amounts, run = speed_of(run), amounts_of(run), limited(run, limit)
    task = fresh_task(run)
    if config.choose_by and data.valid:
        rows = data.valid[:MEASURED]
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
    if lengths := _lengths(run, task):
        usual, long, longest = lengths
        lines.append(("Texts", f"{usual} tokens in the middle, 95 % below {long}, at most {longest}"))
    lines.append(("Plan", run.summary()))
    if limit.minutes:
        lines.append(("Limit", f"{limit.minutes:.3g} minutes, of which {run.limit:.0f} s for each training"))
    lines += [("Decided", str(one)) for one in run.decisions]
    lines.append(("Memory", f"{speed.memory / 2**30:.1f} GiB at most so far, with real batches"))
    # ---- seconds
    steps, runs = 0 if run.probed else config.steps, max(1, config.folds or 0)
    looks = math.ceil(steps / config.evaluate_every) if amounts.valid else 0
    saves = steps // max(config.evaluate_every, config.steps // 10, 1)
    training = speed.step * steps or speed.row * (amounts.train + amounts.valid)
    looking = looks * (speed.row * amounts.valid + speed.save) + saves * STATES * speed.save
    if run.limit and (asked := training + looking) > run.limit:
        training, looking = (one * run.limit / asked for one in (training, looking))
    modality = (training + looking) * amounts.share + speed.row * amounts.test
    seconds = {
        "start": start,
        "training": training * (runs + bool(config.folds)),  # the model of all rows looks at none
        "looks": looking * runs,
        "without a modality": amounts.modalities * modality,
        "baselines": runs * _baseline_seconds(run, task),
        "scores and report": runs * speed.row * amounts.test + _scoring_seconds(run, task) + REPORT,
    }
    sure = run.probed or not config.patience or not looks
    spared = 0.0 if sure else sum(seconds[name] for name in ("training", "looks", "without a modality")) / 2
    return DryRun(counts, dict(classes), lengths, lines, seconds, sum(seconds.values()) - spared)


def _lengths(run: Session, task: AnyTask) -> tuple[int, int, int] | None:
    texts = [" ".join(run.type.texts_of(row)) for row in run.data.train[:MEASURED]]
    texts = [text for text in texts if text]
    if not texts or not run.type.spec.has_texts or not hasattr(task, "tokenizer"):
        return None
    counts = [len(ids) + 2 for ids, _ in task.tokenizer.encode_lists(texts, run.config.max_tokens)]
    median, long, longest = np.quantile(counts, [0.5, 0.95, 1.0])
    return int(median), int(long), int(longest)


def _scoring_seconds(run: Session, task: AnyTask) -> float:
    tests = run.tests.values()
    rows: Sequence[Any] = run.data.train if run.config.folds else [row for own in tests for row in own]
    guessed = task.guess(rows, np.random.default_rng(0)) if rows else None
    if guessed is None:
        return 0.0
    began = time.perf_counter()
    add_scores(PartResult(), task, f"{run.type.spec.name}/test", rows, guessed, {})
    seconds = time.perf_counter() - began
    return 2 * seconds if isinstance(task, ClassTask) else seconds  # the leaderboard resamples, too


def _baseline_seconds(run: Session, task: AnyTask) -> float:
    """Seconds of the strong baselines on all rows, along a line through two samples."""
    if not run.config.baseline:
        return 0.0
    amounts = amounts_of(run)
    small, large = (min(size, amounts.train) for size in SAMPLES)
    first, second = (_timed_baselines(run, task, size) for size in (small, large))
    slope = max(0.0, (second - first) / (large - small)) if large > small else 0.0
    return second + slope * max(0, amounts.train - large)


def _timed_baselines(run: Session, task: AnyTask, size: int) -> float:
    amounts, order = amounts_of(run), np.random.default_rng(run.config.seed).permutation(len(run.data.train))
    rows = [run.data.train[place] for place in order.tolist()]
    share = size / max(1, amounts.train)
    valid, test = (max(2, round(share * count)) for count in (amounts.valid, amounts.test))
    parts = rows[:size], rows[-valid:], {"test": rows[-test:]}
    began = time.perf_counter()
    strong_baselines(Material(task, run.pretrained, run.pictures, *parts, LEAST_BUDGET), False)
    return time.perf_counter() - began


def _process_age() -> float:
    """Seconds since this process began, 0 if unknown."""
    with suppress(OSError, ValueError, IndexError):
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    return 0.0
