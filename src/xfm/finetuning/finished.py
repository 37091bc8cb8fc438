"""What comes of a finished training: comparisons, scores, report, model folder, and what is given back."""

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xfm.config.finetune_file import RESOLVED, dump_finetune
from xfm.config.labels import BALANCED
from xfm.config.next_command import next_command
from xfm.config.plain import to_plain
from xfm.core.errors import amount
from xfm.core.files import write_text
from xfm.core.results_folder import ResultOrigin
from xfm.data.skipped import BAD_FILE
from xfm.data.tables import InMemory
from xfm.data.tables.objects import PREFIX
from xfm.finetuning.baselines.strong import BaselineResult
from xfm.finetuning.flags import flags_of
from xfm.finetuning.leaderboard import Leaderboard, compare
from xfm.finetuning.report import REPORT, write_report
from xfm.finetuning.session import Session, clear
from xfm.finetuning.split_scores import add_scores
from xfm.finetuning.start import few
from xfm.finetuning.tuning_run import TuningRun, save_tuned
from xfm.metrics.calibration import FEWEST
from xfm.reports.scores import DETAILS, METRICS, PartResult, Score, write_json, write_scores
from xfm.tasks.base import AnyTask, HiddenInput
from xfm.tasks.class_task import ClassTask
from xfm.training.flags import Flag
from xfm.training.trackers import Trackers


@dataclass(frozen=True)
class FinetuneResult:
    """A finished fine-tuning: folder, scores by key of `metrics.json`, the task, predictions of the first
    test split (or `validation`), the training, leaderboards, flags and decisions. Processes but the first
    have task, predictions and training alone."""

    model: Path
    scores: dict[str, Score]
    task: AnyTask
    predictions: dict[str, list[Any]]
    tuned: TuningRun
    left_out: str = ""
    leaderboards: Mapping[str, Leaderboard] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    next_command: str = ""
    decisions: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def verdict(self) -> str:
        """Which model to use, in a sentence, by the first split; empty where nothing was scored."""
        return next((board.verdict for board in self.leaderboards.values()), "")


def finish(
    run: Session,
    maker: ResultOrigin,
    trained: FinetuneResult,
    single: Mapping[str, BaselineResult],
    seconds: Mapping[str, float],
) -> FinetuneResult:
    """Compare a training with baselines (`single` are trainings without a modality), write everything down,
    and say what came of it."""
    began, task, tests, predictions = time.perf_counter(), trained.task, run.tests, trained.predictions
    boards, baselines = compare(run, task, predictions, single, seconds["training"])
    seconds = {**seconds, "baselines": seconds["baselines"] + time.perf_counter() - began}
    result = PartResult()
    for name, rows in tests.items():
        others = {one: found.metrics[name] for one, found in baselines.items()}
        add_scores(result, task, f"{task.spec.name}/{name}", rows, predictions[name], others)
    found = replace(
        trained,
        scores=result.scores,
        left_out=run.left_out.sentence(run.out / BAD_FILE),
        leaderboards=boards,
        flags=tuple(flags_of(run, task, trained.tuned, boards)),
        next_command=_next(run, trained.model),
        decisions=run.decisions,
    )
    seconds["everything"] = time.perf_counter() - run.began
    details = {
        "provenance": _save_model(run, found),
        "rows": {"train": len(run.data.train), "validation": len(run.data.valid)}
        | {name: len(rows) for name, rows in run.data.tests.items()},
        "sources": dict(run.origin.sources),
        "config": to_plain(run.config),
        "tokens": task.module.task.max_tokens,
        "baselines": result.baselines,
        "seconds": seconds,
        "left_out": run.left_out.kept_in(run.out),
        "made_by": asdict(maker),
        "leaderboards": {name: asdict(board) for name, board in boards.items()},
        "flags": to_plain(found.flags),
        "next": found.next_command,
        "decisions": dict(found.decisions),
        "ended_by_clock": found.tuned.limited,
        "cost": found.tuned.cost,
        "weights": found.tuned.weights,
        **_settled(found, len(run.data.valid)),
    }
    write_json(run.out / DETAILS, details)
    write_report(run.out, task, tests, predictions, found.scores, found.tuned, details, run.origin.place_of)
    kept = {f"{task.spec.name}/kept/{key}": one for key, one in found.tuned.kept.items()}
    write_scores(run.out / METRICS, scores := {**found.scores, **kept})
    values = {name: score.value for name, score in scores.items()}
    trackers = Trackers(run.config.report_to, run.out, to_plain(run.config), found.tuned.step)
    trackers.each(lambda tracker: tracker.finish(values, run.out / REPORT))
    clear(run.out)
    return found


def _save_model(run: Session, found: FinetuneResult) -> dict[str, Any]:
    settings, began = to_plain(run.settings(HiddenInput.NOTHING)), (run.pretrained, run.model)
    adapter = run.config.tune if run.config.tune.save_adapter_only else None
    more = {"settings": settings, "scores": {key: asdict(score) for key, score in found.scores.items()}}
    split = {"valid": "validation"}  # as the scores name it
    if own := {split.get(name, name): [one] for name, one in run.origin.sources.items() if PREFIX in one}:
        more["data"] = own
    made = save_tuned(found.model, found.task, *began, found.tuned, len(run.data.valid), adapter, **more)
    return {key: value for key, value in made.items() if key != "scores"}  # the page has its own


def _settled(found: FinetuneResult, valid: int) -> dict[str, Any]:
    task, probe = found.task, found.tuned.probe
    said: dict[str, Any] = {"probe": {"C": probe.penalty, "note": probe.note}} if probe else {}
    if not isinstance(task, ClassTask):
        return said
    if task.weights:
        asked = f"{BALANCED}: " if task.settings.class_weights == BALANCED else ""
        said["class_weights"] = asked + few((f"{name} {own:.3g}" for name, own in task.weights.items()), 30)
    of_rows = f"by {amount(valid, 'validation row')}"
    if task.labels.threshold:
        said["threshold"] = f"{task.labels.threshold:.3g}, {of_rows if task.labels.fits else 'given'}"
    temperature = task.module.task.temperature
    fitted = f"not fitted: fewer than {FEWEST} validation rows"
    said["temperature"] = fitted if temperature == 1 else f"{temperature:.3g}, {of_rows}"
    return said


def _next(run: Session, model: Path) -> str:
    """A command to paste: the model's answers to its test table."""
    rows = [*run.data.train, *run.data.valid, *(row for test in run.data.tests.values() for row in test)]
    shown = {picture for row in rows for picture in run.type.images_of(row)}
    tables, named, told = run.origin.tables, "", ("", None)
    if tables is not None:
        named = str(next(one for one in (tables.test, tables.valid, tables.train) if one is not None))
        told = tables.columns.option, tables.pictures
    return next_command(run.type.spec.name, model, named, run.out, *told, shown)


def write_resolved(run: Session) -> None:
    """Write `finetune.yaml` for `xfm finetune --config`: what was given and decided; rows in memory have no
    tables."""
    told: dict[str, str | None] = {"task": run.type.spec.name, "model": run.model, "out": str(run.out)}
    if (tables := run.origin.tables) is not None:
        named = {"train": tables.train, "validation": tables.valid, "test": tables.test}
        named |= {"pictures": tables.pictures}
        lie = {name: one for name, one in named.items() if one is not None and not isinstance(one, InMemory)}
        told |= {name: str(one) for name, one in lie.items()}
        told["columns"] = tables.columns.option or None
    config = run.config
    if run.probed:  # what a training would have; another preset is to decide it anew
        config = replace(config, steps=0, batch_size=0, lr=0.0, evaluate_every=0)
    write_text(run.out / RESOLVED, dump_finetune(told, config, run.type.spec))
