"""`xfm finetune --dry-run`: what a run would do, by its real rows and some real steps; nothing is written."""

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
from xfm.finetuning.applicable import check_applicable
from xfm.finetuning.budget import Budget, TimeShare
from xfm.finetuning.flags import few_rows_hint
from xfm.finetuning.from_rows import check_folder
from xfm.finetuning.from_tables import finetune_config, opened, tables_of
from xfm.finetuning.origin import RowOrigin
from xfm.finetuning.presets import Decision
from xfm.finetuning.session import AnyTask, Session
from xfm.finetuning.speed import Estimate, TuningSpeed, estimate
from xfm.finetuning.split_scores import add_scores
from xfm.finetuning.start import local_model
from xfm.finetuning.timing import amounts_of, baseline_seconds, fresh_task, speed_of, with_share
from xfm.finetuning.watch import require_metric
from xfm.metrics.numbers import readable_seconds
from xfm.reports.scores import PartResult
from xfm.tasks.class_task import ClassTask

MEASURED, SHOWN_CLASSES = 1000, 12
"""Training texts whose lengths are told, and classes that are named."""
REPORT = 4.0
"""Seconds of the charts and the page, where they are drawn for the first time."""


@dataclass(frozen=True)
class DryRun:
    """The plan of a run.

    Attributes:
        summary: rows, steps and device in a sentence.
        rows: by split, after what cannot be read was left out.
        left_out: which these are, in words.
        classes: training rows by class; empty for tasks without classes.
        lengths: tokens of the training texts: the median, the 95th percentile and the longest.
        decisions: what was decided of the settings that nobody gave.
        speed: that was measured.
        estimate: of the parts of the run.
        share: what a time limit leaves to the training.
        hint: what would be better, as the end of a sentence.
    """

    summary: str
    rows: Mapping[str, int]
    left_out: str
    classes: Mapping[str, int]
    lengths: tuple[int, int, int] | None
    decisions: tuple[Decision, ...]
    speed: TuningSpeed
    estimate: Estimate
    share: TimeShare | None = None
    hint: str = ""

    @property
    def minutes(self) -> float:
        """What a run is predicted to take."""
        return self.estimate.seconds / 60

    def __str__(self) -> str:
        lines = [("Rows", ", ".join(f"{name} {count:,}" for name, count in self.rows.items()) + self.hint)]
        if self.left_out:
            lines.append(("Left out", self.left_out))
        if self.classes:
            shown = [f"{name} {count:,}" for name, count in [*self.classes.items()][:SHOWN_CLASSES]]
            more = (
                f", and {len(self.classes) - SHOWN_CLASSES} more" if len(self.classes) > SHOWN_CLASSES else ""
            )
            lines.append(("Classes", f"{len(self.classes)}: {', '.join(shown)}{more} (training rows)"))
        if self.lengths:
            usual, long, longest = self.lengths
            lines.append(("Texts", f"{usual} tokens in the middle, 95 % below {long}, at most {longest}"))
        lines.append(("Plan", self.summary))
        lines += [("Decided", str(one)) for one in self.decisions]
        lines.append(("Memory", f"{self.speed.memory / 2**30:.1f} GiB at most so far, with real batches"))
        lines.append(("Time", self._time()))
        return "\n".join(f"{name + ':':<10}{text}" for name, text in lines)

    def _time(self) -> str:
        whole = self.estimate
        own, low, high = (readable_seconds(one) for one in (whole.seconds, whole.low, whole.high))
        told = own if low == high else f"{own}: {low} if nothing gets better half-way, {high} at most"
        parts = {
            "start": self.estimate.start,
            "training": self.estimate.training,
            "looks": self.estimate.looking,
            "without a modality": self.estimate.modalities,
            "baselines": self.estimate.baselines,
            "scores and report": self.estimate.scoring,
        }
        listed = ", ".join(f"{name} {readable_seconds(one)}" for name, one in parts.items() if one)
        limit = f"; the limit is {self.share.minutes:.3g} minutes" if self.share else ""
        return f"about {told} ({listed}){limit}"


def dry_run(
    task: str,
    model: Path | str,
    train: Table,
    out: Path | None = None,
    *,
    valid: Table | None = None,
    test: Table | None = None,
    columns: Mapping[str, str] | str = "",
    pictures: Path | str | None = None,
    split: Path | str | None = None,
    allow_urls: bool | Sequence[str] | UrlRules = False,
    config: FinetuneConfig | None = None,
    progress: bool = True,
) -> DryRun:
    """What `xfm.finetune` would do with the same arguments, and how long that would take here.

    Tables are read and rows parted as the run does it, a few steps and predictions are done and thrown away.

    Raises:
        UserError: what the run would refuse.
    """
    refuse_none(task=task, model=model, train=train)
    config, spec = finetune_config(config), task_spec(task)
    budget = Budget(config.minutes, began=time.perf_counter() - process_age())
    check_applicable(spec, config)
    if out is not None:
        check_folder(home_path(out), False)
    local_model(model)
    root, parted = (None if place is None else home_path(place) for place in (pictures, split))
    tables = tables_of(train, valid, test, columns, root, parted, allow_urls)
    with TemporaryDirectory(prefix="xfm-dry-run-") as folder:
        data, origin = opened(task, model, tables, config, Path(folder), progress)
        run = Session.begin(spec.name, home_path(model), data.rows, config, Path(folder), progress, origin)
        return planned(run, origin, budget)


def planned(run: Session, origin: RowOrigin, budget: Budget) -> DryRun:
    """The plan of a run that was begun.

    Args:
        run: with its rows and its fitted configuration.
        origin: where they come from.
        budget: the clock of the command.
    """
    start = budget.used
    speed, amounts = speed_of(run), amounts_of(run)
    share = None
    if budget.minutes:
        share = budget.share(speed, amounts, run.config.baseline)
        run = with_share(run, share)
        amounts = amounts_of(run)
    task = fresh_task(run)
    _check_metric(run, task)
    baselines = baseline_seconds(run, task)
    fixed = _scoring_seconds(run, task) + REPORT
    sure = run.probed or not run.config.patience or not amounts.looks
    data = run.data
    rows = {"training": len(data.train), "validation": len(data.valid)}
    rows |= {name: len(own) for name, own in data.tests.items()}
    classes = Counter(name for row in data.train for name in run.type.labels_of(row))
    hint = "" if run.config.folds else few_rows_hint(run.type.spec, data, origin.tables)
    return DryRun(
        run.summary(),
        {name: count for name, count in rows.items() if count},
        run.left_out.sentence(BAD_FILE),
        dict(classes.most_common()),
        _lengths(run, task),
        run.decisions,
        speed,
        estimate(speed, amounts, start, fixed, baselines, sure),
        share,
        hint,
    )


def _check_metric(run: Session, task: AnyTask) -> None:
    rows, name = run.data.valid[:MEASURED], run.config.choose_by
    if name and rows:
        guessed = task.guess(rows, np.random.default_rng(0))
        require_metric(task, name, task.validation_metrics(rows, guessed or task.predict(rows)))


def _lengths(run: Session, task: AnyTask) -> tuple[int, int, int] | None:
    """Tokens of the training texts: the median, the 95th percentile and the longest; None without texts."""
    if not run.type.spec.has_texts:
        return None
    texts = [" ".join(run.type.texts_of(row)) for row in run.data.train[:MEASURED]]
    texts = [text for text in texts if text]
    if not texts or not hasattr(task, "tokenizer"):
        return None
    counts = [len(ids) + 2 for ids, _ in task.tokenizer.encode_lists(texts, run.config.max_tokens)]
    median, long, longest = np.quantile(counts, [0.5, 0.95, 1.0])
    return int(median), int(long), int(longest)


def _scoring_seconds(run: Session, task: AnyTask) -> float:
    rows: Sequence[Any] = (
        run.data.train if run.config.folds else [row for own in run.tests.values() for row in own]
    )
    guessed = task.guess(rows, np.random.default_rng(0)) if rows else None
    if guessed is None:
        return 0.0
    began = time.perf_counter()
    add_scores(PartResult(), task, f"{run.type.spec.name}/test", rows, guessed, {})
    seconds = time.perf_counter() - began
    return 2 * seconds if isinstance(task, ClassTask) else seconds  # the leaderboard resamples, too


def process_age() -> float:
    """Seconds since this process began, imports included; 0 where the system does not say."""
    with suppress(OSError, ValueError, IndexError):
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        uptime = float(Path("/proc/uptime").read_text().split()[0])
        return max(0.0, uptime - ticks / os.sysconf("SC_CLK_TCK"))
    return 0.0
