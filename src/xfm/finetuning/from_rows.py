"""`finetune_rows`: from typed rows to a model folder, scores and a report."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.config.next_command import next_command
from xfm.config.plain import to_plain
from xfm.data.left_out import BAD_FILE
from xfm.errors import UserError
from xfm.finetuning.baselines.strong import BaselineResult
from xfm.finetuning.budget import Budget
from xfm.finetuning.cross import CrossValidated, clear_folds, cross_validate
from xfm.finetuning.flags import few_rows_hint, flags_of, out_of_time
from xfm.finetuning.leaderboard import Leaderboard, over_fast
from xfm.finetuning.presets import Decision
from xfm.finetuning.report import write_report
from xfm.finetuning.resolved import write_resolved
from xfm.finetuning.saved import save_tuned
from xfm.finetuning.scored_splits import scored_splits
from xfm.finetuning.session import AnyTask, RowOrigin, Session, clear
from xfm.finetuning.split_scores import add_scores
from xfm.finetuning.timing import limited
from xfm.finetuning.tuning_run import TuningRun
from xfm.finetuning.usable import partial_pictures, require_same_left_out, say_partial
from xfm.locks import locked
from xfm.reports.results import PartResult
from xfm.reports.scores import Score, write_json, write_scores
from xfm.reports.stored import DETAILS, METRICS
from xfm.results_folder import Maker, digest, free_name, holding, sign
from xfm.tasks.base import Blanked
from xfm.tasks.splits import SplitRows
from xfm.training import distributed
from xfm.training.checkpoint import list_checkpoints
from xfm.training.failures import explaining_failures
from xfm.training.flags import Flag, What, plain_flags
from xfm.training.logging import LOG_FILE, log_lines
from xfm.training.pretrain import MODEL_FOLDER
from xfm.training.run_folder import require_new, saved_of


@dataclass(frozen=True)
class FinetuneResult:
    """A finished fine-tuning.

    Of several processes the first one has all of it, the others task, predictions and training alone.

    Attributes:
        model: the model's folder.
        scores: by key, as in `metrics.json`.
        task: with the fine-tuned model in evaluation mode.
        predictions: by test split, one for each row; `validation` where there is no test split.
        tuned: how the training went.
        left_out: the rows that were left out, in a sentence; empty where none was.
        leaderboards: by split, the model among simple baselines.
        flags: what was out of the ordinary.
        next_command: asks the model, as a line for a shell.
        decisions: what was decided of the settings that nobody gave.
        crossed: the cross-validation, if there was one; the model learned from all rows.
        uploaded: address of the model on the hub; empty where nobody asked for that.
    """

    model: Path
    scores: dict[str, Score]
    task: AnyTask
    predictions: dict[str, list[Any]]
    tuned: TuningRun
    left_out: str = ""
    leaderboards: Mapping[str, Leaderboard] = field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    next_command: str = ""
    decisions: tuple[Decision, ...] = ()
    crossed: CrossValidated | None = None
    uploaded: str = ""

    @property
    def verdict(self) -> str:
        """Which model to use, in a sentence, by the first split; empty where nothing was scored."""
        return next((board.verdict for board in self.leaderboards.values()), "")


def finetune_rows(
    kind: str,
    model: Path | str,
    data: SplitRows[Any],
    config: FinetuneConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    origin: RowOrigin | None = None,
    budget: Budget | None = None,
) -> FinetuneResult:
    """Fine-tune a model on typed rows; `xfm.finetune` is the same for tables.

    Args:
        kind: the task.
        model: folder of the model to begin with, or a published file.
        data: rows of the task (see `xfm.tasks.rows`) by split, with the names of the classes.
        config: what is 0 is fitted to the rows.
        out: run folder; gets `model/`, `metrics.json`, `evaluation.json`, `report.html` and the logs.
        resume: continue the folder's run exactly.
        progress: show bars and looks at the validation rows.
        origin: where the rows come from.
        budget: the clock of the command, by the configuration's time limit if not given.

    Returns:
        The model's folder, scores and predictions.

    Raises:
        UserError: no model, more pictures that cannot be read than may be, a folder that holds another run.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """

    def begin(shows: bool) -> tuple[Session, RowOrigin]:
        rows = origin or RowOrigin()
        return Session.begin(kind, model, data, config, out, shows, rows), rows

    return fine_tuned(begin, out, config, resume, progress, budget)


@dataclass(frozen=True)
class _Trained:
    """What the processes of a run have made together.

    Attributes:
        run: that made the model: of a cross-validation the one of all rows.
        task: with the fine-tuned model.
        tuned: how the training went.
        predictions: by test split.
        single: the same training without one modality, by name.
        crossed: the cross-validation, if there was one.
        seconds: that training and baselines took.
    """

    run: Session
    task: AnyTask
    tuned: TuningRun
    predictions: dict[str, list[Any]]
    single: dict[str, BaselineResult]
    crossed: CrossValidated | None
    seconds: dict[str, float]


def fine_tuned(
    begin: Callable[[bool], tuple[Session, RowOrigin]],
    out: Path,
    config: FinetuneConfig,
    resume: bool,
    progress: bool,
    budget: Budget | None = None,
) -> FinetuneResult:
    """A whole fine-tuning, in this process or in all that torchrun has started.

    They train and predict together. Baselines that need no training, report and model folder are the work of
    the first one, which is alone by then.

    Args:
        begin: reads everything, given whether to show bars; every process calls it.
        out: run folder.
        config: as it was given; says the device and the time limit.
        resume: continue the folder's run.
        progress: show bars, in the first process.
        budget: the clock of the command, by the configuration's time limit if not given.

    Raises:
        UserError: see `finetune_rows`; another process ended, or what is asked for is for one process.
        Interrupted: see `finetune_rows`.
    """
    budget = budget or Budget(config.minutes)
    with contextlib.ExitStack() as lock:
        said = explaining_failures(lambda: saved_of(out))
        with distributed.processes(config.device) as process, said:
            distributed.on_first(lambda: lock.enter_context(locked(out)))
            distributed.on_first(lambda: check_folder(out, resume))
            run, origin = begin(progress and process.is_first)
            distributed.on_first(lambda: _check_shared(run, budget))
            maker = Maker(
                "finetune",
                {"model": run.model, "data": digest(run.data.train)},
                f"{run.name} from {run.model}",
            )
            distributed.on_first(lambda: _open(run, maker, resume))
            run = limited(run, budget, out, resume)
            distributed.on_first(lambda: _say(run, origin))
            trained = _train(run, resume)
        if not process.is_first:
            found = trained.task, trained.predictions, trained.tuned
            return FinetuneResult(out / MODEL_FOLDER, {}, *found)
        with distributed.alone():
            return _finish(origin, trained, maker, budget)


def _check_shared(run: Session, budget: Budget) -> None:
    """Refuse what one process does alone.

    Raises:
        UserError: several were started for it.
    """
    asked = {"a time limit": bool(budget.minutes), "folds": bool(run.config.folds), "a probe": run.probed}
    found = [what for what, wanted in asked.items() if wanted]
    if found and distributed.world() > 1:
        raise UserError(
            f"{found[0]} is for one process, and torchrun has started {distributed.world()}: start it "
            "without torchrun, or leave that out"
        )


def _open(run: Session, maker: Maker, resume: bool) -> None:
    """Write what was left out, and sign the folder."""
    if resume:
        require_same_left_out(run.out, run.left_out)
    else:
        run.left_out.write(run.out)
    sign(run.out, maker)


def _say(run: Session, origin: RowOrigin) -> None:
    """Write down what was decided, and say what is going to happen."""
    write_resolved(run.out, run, origin)
    if run.progress:
        tqdm.write(run.summary(), file=sys.stderr)
        decided = ", ".join(f"{one.name} {one.value}" for one in run.decisions)
        tqdm.write(f"Preset {run.config.preset} decided: {decided or 'nothing'}.", file=sys.stderr)
    say_partial(partial_pictures(run.pictures, origin.places))
    if run.progress and run.left_out.rows:
        tqdm.write(f"Note: {run.left_out.sentence(run.out / BAD_FILE)}", file=sys.stderr)


def _train(run: Session, resume: bool) -> _Trained:
    """Train the task, predict the test rows, and train the baselines of one modality."""
    crossed = cross_validate(run, resume) if run.config.folds else None
    if crossed:  # its model is begun when the folds are done
        run, resume = crossed.final, resume and bool(list_checkpoints(run.out))
    began = time.perf_counter()
    task, tuned = run.tuned(Blanked.NOTHING, run.out, resume)
    task.finish()
    tests = run.tests
    predictions = {name: task.predict(rows) for name, rows in tests.items()}
    seconds = {"training": time.perf_counter() - began}
    began = time.perf_counter()
    single = run.single_modality(tests, resume) if tests else {}
    seconds["baselines"] = time.perf_counter() - began
    for lost in distributed.collect(run.left_out.rows):  # on the way, by any of the processes
        for place, reason in lost.items():
            run.left_out.note(place, reason)
    return _Trained(run, task, tuned, predictions, single, crossed, seconds)


def _finish(origin: RowOrigin, trained: _Trained, maker: Maker, budget: Budget) -> FinetuneResult:
    """Compare, write everything down, and say what came of it."""
    began, run, task, crossed = time.perf_counter(), trained.run, trained.task, trained.crossed
    seconds = dict(trained.seconds)
    compared = scored_splits(run, task, trained.predictions, trained.single, seconds["training"], budget.left)
    seconds["baselines"] += time.perf_counter() - began
    compared = compared.after(crossed) if crossed else compared
    result = PartResult()
    for name, rows in compared.tests.items():
        metrics = compared.others[name]
        add_scores(result, task, f"{run.name}/{name}", rows, compared.predictions[name], metrics)
    path = run.out / MODEL_FOLDER
    found = FinetuneResult(
        path,
        result.scores,
        task,
        compared.predictions,
        trained.tuned,
        run.left_out.sentence(run.out / BAD_FILE),
        compared.boards,
        tuple(_flags(run, task, trained.tuned, compared.boards, crossed)),
        _next(run, path, origin),
        run.decisions,
        crossed,
    )
    _save(run, found, result, compared.tests, origin, {**seconds, "everything": budget.used}, maker)
    return found


def _flags(
    run: Session,
    task: AnyTask,
    tuned: TuningRun,
    boards: Mapping[str, Leaderboard],
    crossed: CrossValidated | None,
) -> list[Flag]:
    """What was out of the ordinary."""
    metric, best = run.config.choose_by or task.primary, tuned.best
    cases = {"validation": (best.metrics[task.primary], len(run.data.valid))} if best else {}
    cases |= {name: (board.model.value, board.groups) for name, board in boards.items()}
    lines = log_lines(run.out / LOG_FILE)
    left_out, config = len(run.left_out.rows), run.config
    fitting = 0 if crossed or run.probed else run.fitting
    found = flags_of(tuned, config.steps, fitting, (metric, task.primary), cases, lines, left_out)
    hint = few_rows_hint(run.type.spec, len(run.data.train) + len(run.data.valid) + len(run.data.test))
    if hint and not crossed:
        found = [
            replace(one, sentence=one.sentence + hint) if one.what == What.ROUGH else one for one in found
        ]
    limit = out_of_time(tuned, config)
    return [limit, *found] if limit else found


def check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that holds results, a model, or a run that is not to be continued.

    Raises:
        UserError: it does; names a folder that is free.
    """
    found, free = holding(out), free_name(out)
    ours = found is not None and found.maker is not None and found.maker.command == "finetune"
    if ours and (out / METRICS).exists():
        raise UserError(f"{out} holds a finished run; choose another folder, such as --out {free}")
    if ours and not resume:
        require_new(out)
    if found is not None and not (ours and resume):
        raise UserError(f"{out} holds {found.what}; choose another folder, such as --out {free}")


def _save(
    run: Session,
    found: FinetuneResult,
    result: PartResult,
    tests: Mapping[str, Sequence[Any]],
    origin: RowOrigin,
    seconds: Mapping[str, float],
    maker: Maker,
) -> None:
    """Write model, details, report and, when all of that is there, the scores."""
    settings = to_plain(run.settings(Blanked.NOTHING))
    valid = len(run.data.valid)
    task, tuned = found.task, found.tuned
    provenance = save_tuned(found.model, task, run.pretrained, run.model, tuned, valid, settings=settings)
    counts = {name: len(rows) for name, rows in run.data.tests.items()}
    details = {
        "provenance": provenance,
        "rows": {"train": len(run.data.train), "validation": len(run.data.valid), **counts},
        "sources": dict(origin.sources),
        "config": to_plain(run.config),
        "tokens": found.task.module.task.max_tokens,
        "baselines": result.baselines,
        "seconds": dict(seconds),
        "partial_pictures": partial_pictures(run.pictures, origin.places),
        "left_out": run.left_out.kept_in(run.out),
        "made_by": asdict(maker),
        "leaderboards": {name: board.as_json() for name, board in found.leaderboards.items()},
        "flags": plain_flags(found.flags),
        "next": found.next_command,
        "decisions": [asdict(one) for one in found.decisions],
        "over_fast": {name: over_fast(board) for name, board in found.leaderboards.items()},
        **_more(found),
    }
    write_json(run.out / DETAILS, details)
    write_report(
        run.out, found.task, tests, found.predictions, found.scores, found.tuned, details, origin.place_of
    )
    write_scores(run.out / METRICS, found.scores)
    clear(run.out)
    clear_folds(run.out)


def _more(found: FinetuneResult) -> dict[str, Any]:
    """Details of a probe, and of a cross-validation."""
    probe, crossed = found.tuned.probe, found.crossed
    said: dict[str, Any] = {"ended_by_clock": found.tuned.limited}
    if probe:
        said["probe"] = {"C": probe.penalty, "note": probe.note}
    if crossed:
        said |= {"folds": crossed.plain_folds(), "final_model": crossed.chosen}
    return said


def _next(run: Session, model: Path, origin: RowOrigin) -> str:
    """A command that can be pasted: the model's answers to the table that it was tested on."""
    rows = [*run.data.train, *run.data.valid, *(row for test in run.data.tests.values() for row in test)]
    shown = {picture for row in rows for picture in run.type.pictures_of(row)}
    task, table = run.type.spec.name, origin.table or "new.csv"
    return next_command(task, model, table, run.out, origin.columns, origin.pictures, shown, origin.hosts)
