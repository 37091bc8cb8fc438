"""`xfm.finetune` and `finetune_rows`: from tables, or typed rows, to a model folder, scores and a report."""

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.config.tasks import task_spec
from xfm.core.errors import UserError, refuse_none
from xfm.core.locks import locked
from xfm.core.paths import home_path
from xfm.core.processes import is_first_process
from xfm.core.results_folder import ResultOrigin, digest, free_name, holding, sign
from xfm.data.images import PICTURE_SUFFIXES
from xfm.data.skipped import BAD_FILE
from xfm.data.tables import Table
from xfm.finetuning.cross_validation import FOLDS_FOLDER, cross_validate
from xfm.finetuning.data import RowOrigin
from xfm.finetuning.finished import FinetuneResult, TrainingOutcome, finish, write_resolved
from xfm.finetuning.presets import check_applicable
from xfm.finetuning.row_filter import partial_pictures, require_same_left_out, say_partial
from xfm.finetuning.session import Session
from xfm.finetuning.start import finetune_config, local_model, opened, tables_of
from xfm.finetuning.time_limit import TimeLimit, limited
from xfm.models.resolve import LOG_IN, hub_library
from xfm.models.xfm import check_repository, push_to_hub
from xfm.reports.scores import METRICS
from xfm.tasks.base import HiddenInput
from xfm.tasks.rows import SplitRows
from xfm.training import distributed
from xfm.training.checkpoint import list_checkpoints
from xfm.training.collectives import in_turn
from xfm.training.failures import explaining_failures
from xfm.training.pretrain import MODEL_FOLDER
from xfm.training.run_folder import require_new, restarted, saved_of

Begin = Callable[[bool, bool], tuple[Session, RowOrigin]]
"""Reads everything, given whether to show bars, and whether the run goes on; every process calls it."""


def finetune(
    task: str,
    model: Path | str,
    train: Table,
    out: Path | str,
    *,
    valid: Table | None = None,
    test: Table | None = None,
    columns: Mapping[str, str] | str = "",
    pictures: Path | str | None = None,
    split: Path | str | None = None,
    config: FinetuneConfig | None = None,
    resume: bool = False,
    progress: bool = True,
    push_to_hub: str | None = None,
) -> FinetuneResult:
    """Fine-tune a model on tables of one's own.

    Under torchrun all processes call it; they share each batch, and the rows that are scored.

    Args:
        task: such as `text-classification`; `xfm finetune --help` has all.
        model: folder of the model to begin with.
        train: table with the training rows: a file, a folder with a folder of pictures a class, or
            `hub:OWNER/NAME`; or rows in memory: a DataFrame, a data set, a list of dictionaries, a dictionary
            with a list a column. A dictionary of splits (`train`, `validation`, `test`) gives all of them.
        out: folder for the model (`model/`), `metrics.json`, `report.html` and the logs.
        valid: table with the validation rows; a share of the training rows if not given.
        test: table with the test rows; likewise, unless there are validation rows.
        columns: column by field where they differ, `{"question": "q"}` or `"question=q"`; an empty one says
            that the table has none.
        pictures: folder that paths of pictures start from, each table's own if not given.
        split: `split.json` of an earlier run on the same training table, or the run's folder: the rows are in
            the same splits. Without, and without `valid`, a split is drawn by the seed.
        config: steps, rates, what is frozen and so on; what is 0 is fitted to the rows.
        resume: continue the folder's run exactly.
        progress: show bars and looks at the validation rows.
        push_to_hub: repository of the hub (`owner/name`) that the finished model is uploaded to; a new one is
            private.

    Returns:
        The model's folder, the scores, the predictions of the test rows, and the fine-tuned task.

    Raises:
        UserError: something is wrong with tables, columns, rows or model; names the file, row and column. Or
            the hub does not take the finished model, which stays in `out`.
        Interrupted: SIGINT or SIGTERM came; the run is saved.

    Example:
        >>> done = finetune("text-classification", "runs/quickstart/model", "reviews.csv", "runs/reviews")
        >>> done.scores["text-classification/test/accuracy"].value
    """
    refuse_none(task=task, model=model, train=train, out=out)
    config, out, model = finetune_config(config), home_path(out), home_path(model)
    limit = TimeLimit(config.minutes)

    def begin(shows: bool, resume: bool) -> tuple[Session, RowOrigin]:
        spec = task_spec(task)
        in_turn(lambda: check_applicable(spec, config))
        if (repository := push_to_hub) is not None:
            distributed.on_first(lambda: check_upload(repository, config))
        in_turn(lambda: local_model(model))  # before tables are read, which may take minutes
        tables = tables_of(train, valid, test, columns, pictures, split)
        data, origin = opened(task, model, tables, config, out, shows)
        return Session.begin(spec.name, model, data, config, out, shows, origin), origin

    done = _fine_tuned(begin, out, config, resume, progress, limit)
    if push_to_hub is None or not is_first_process():
        return done
    return replace(done, uploaded=upload(done, push_to_hub))


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
) -> FinetuneResult:
    """Fine-tune on typed rows (`xfm.tasks.rows`) as `xfm.finetune` does on tables; `kind` is the task."""

    def begin(shows: bool, resume: bool) -> tuple[Session, RowOrigin]:
        rows = origin or RowOrigin()
        return Session.begin(kind, model, data, config, out, shows, rows), rows

    return _fine_tuned(begin, out, config, resume, progress, TimeLimit(config.minutes))


def _fine_tuned(
    begin: Begin, out: Path, config: FinetuneConfig, resume: bool, progress: bool, limit: TimeLimit
) -> FinetuneResult:
    """A fine-tuning by all processes; baselines, report and model folder are made by the first alone."""
    with contextlib.ExitStack() as lock:
        said = explaining_failures(lambda: saved_of(out))
        with distributed.processes(config.device) as process, said:
            # torchrun counts restarts by machine
            again = any(map(restarted, (out, *(out / FOLDS_FOLDER).glob("*"))))
            resume = any(distributed.collect(resume or again))
            distributed.on_first(lambda: lock.enter_context(locked(out)))
            distributed.on_first(lambda: check_folder(out, resume))
            run, origin = begin(progress and process.is_first, resume)
            distributed.on_first(lambda: _check_shared(run, limit))
            made_of = {"model": run.model, "data": digest(run.data.train)}
            maker = ResultOrigin("finetune", made_of, f"{run.name} from {run.model}")
            kept = partial(require_same_left_out, out) if resume else lambda left_out: left_out.write(out)
            distributed.on_first(lambda: kept(run.left_out))
            distributed.on_first(lambda: sign(out, maker))
            run = limited(run, limit)
            distributed.on_first(lambda: _say(run, origin))
            trained = _train(run, resume)
        if not process.is_first:
            found = trained.task, trained.predictions, trained.tuned
            return FinetuneResult(out / MODEL_FOLDER, {}, *found)
        with distributed.alone():
            return finish(origin, trained, maker, limit)


def _check_shared(run: Session, limit: TimeLimit) -> None:
    asked = {"a time limit": bool(limit.minutes), "folds": bool(run.config.folds), "a probe": run.probed}
    found = [what for what, wanted in asked.items() if wanted]
    if found and distributed.world() > 1:
        raise UserError(
            f"{found[0]} is for one process, and torchrun has started {distributed.world()}: start it "
            "without torchrun, or leave that out"
        )


def _say(run: Session, origin: RowOrigin) -> None:
    write_resolved(run.out, run, origin.tables)
    if run.progress:
        tqdm.write(run.summary(), file=sys.stderr)
        decided = ", ".join(f"{one.name} {one.value}" for one in run.decisions)
        tqdm.write(f"Preset {run.config.preset} decided: {decided or 'nothing'}.", file=sys.stderr)
    say_partial(partial_pictures(run.pictures, origin.places))
    if run.progress and run.left_out.rows:
        tqdm.write(f"Note: {run.left_out.sentence(run.out / BAD_FILE)}", file=sys.stderr)


def _train(run: Session, resume: bool) -> TrainingOutcome:
    crossed = cross_validate(run, resume) if run.config.folds else None
    if crossed:  # its model is begun when the folds are done
        run, resume = crossed.final, resume and bool(list_checkpoints(run.out))
    began = time.perf_counter()
    task, tuned = run.tuned(HiddenInput.NOTHING, run.out, resume)
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
    return TrainingOutcome(run, task, tuned, predictions, single, crossed, seconds)


def check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that holds results, a model, pictures, or a run that is not to be continued."""
    found, free = holding(out), free_name(out)
    ours = found is not None and found.maker is not None and found.maker.command == "finetune"
    if ours and (out / METRICS).exists():
        raise UserError(f"{out} holds a finished run; choose another folder, such as --out {free}")
    if ours and not resume:
        require_new(out)
    if found is not None and not (ours and resume):
        raise UserError(f"{out} holds {found.what}; choose another folder, such as --out {free}")
    lying = out.iterdir() if found is None and out.is_dir() else ()
    if any(path.suffix.lower() in PICTURE_SUFFIXES for path in lying):
        raise UserError(f"{out} holds pictures; choose another folder, such as --out {free}")


def check_upload(name: str, config: FinetuneConfig) -> None:
    """Check repository and adapter before the training, and warn without a token."""
    check_repository(name)
    if config.tune.save_adapter_only:
        raise UserError(
            f"{name}: push_to_hub uploads a whole model, and tune.save_adapter_only keeps what was "
            "learned alone: leave one of the two out (`xfm export --format merged` makes a whole model of a "
            "finished run, which can be uploaded)"
        )
    if hub_library("models are uploaded").get_token() is None and is_first_process():
        note = f"Note: {name} will need a token when the training has ended, and there is none; {LOG_IN}."
        tqdm.write(note, file=sys.stderr)


def upload(done: FinetuneResult, name: str) -> str:
    """Upload the model of a finished run to a (new: private) repository; gives the commit's address."""
    scores = {key: f"{score.value:.4g}" for key, score in done.scores.items()}
    try:
        return push_to_hub(done.model, name, scores=scores, message=f"Fine-tuned: {done.task.spec.name}")
    except UserError as error:
        raise UserError(
            f"{error}; the run is finished and stays as it is: upload its model later in Python with "
            f"xfm.XFM.from_pretrained({str(done.model)!r}).push_to_hub({name!r})"
        ) from error
