"""`xfm.finetune` and `finetune_rows`: from tables, or typed rows, to a model folder, scores and a report."""

import contextlib
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
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
from xfm.data.skipped import BAD_FILE, SkippedRecords
from xfm.data.tables import ColumnMap, Table, as_splits
from xfm.finetuning.baselines.strong import BaselineResult
from xfm.finetuning.data import RowOrigin, Tables, read_data
from xfm.finetuning.finished import FinetuneResult, finish, write_resolved
from xfm.finetuning.presets import task_settings
from xfm.finetuning.session import Session
from xfm.finetuning.start import usable_rows
from xfm.finetuning.tuning_run import tune
from xfm.metrics.numbers import readable_seconds
from xfm.models.resolve import LOG_IN
from xfm.models.xfm import XFM, check_repository
from xfm.reports.scores import METRICS
from xfm.tasks.base import HiddenInput
from xfm.tasks.images import TaskImages
from xfm.tasks.rows import SplitRows
from xfm.training import distributed
from xfm.training.failures import explaining_failures
from xfm.training.pretrain import MODEL_FOLDER
from xfm.training.run_folder import require_new, restarted, saved_of

LEAST, RESERVED, BASELINES, INTERPOLATION = 0.1, 0.2, 0.15, 0.1
"""Shares of a time limit: trainings have at least the first; the second is for predictions, intervals and
the report, the third for strong baselines, the fourth for weights between those before and after."""
Begin = Callable[[bool], Session]
"""Reads everything, given whether to show bars; every process calls it."""


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
    began = time.perf_counter()

    def begin(shows: bool) -> Session:
        if (repository := push_to_hub) is not None:
            distributed.on_first(lambda: check_upload(repository, config))
        return _opened(task, model, config, out, shows, (train, valid, test), columns, pictures)

    done = _fine_tuned(begin, out, config, resume, progress, began)
    if push_to_hub is not None and is_first_process():
        upload(done, push_to_hub)
    return done


def finetune_rows(
    kind: str,
    model: Path | str,
    data: SplitRows[Any],
    config: FinetuneConfig,
    out: Path,
    *,
    resume: bool = False,
    progress: bool = True,
    lazily: bool = False,
) -> FinetuneResult:
    """Fine-tune on typed rows (`xfm.tasks.rows`) as `xfm.finetune` does on tables; `kind` is the task,
    `lazily` as of `usable_rows`."""
    task = task_spec(kind).task_class(config.regression)

    def begin(shows: bool) -> Session:
        def read(pictures: TaskImages, left_out: SkippedRecords) -> tuple[SplitRows[Any], RowOrigin]:
            return usable_rows(task, data, pictures, left_out, shows, lazily), RowOrigin()

        return Session.begin(kind, model, config, out, shows, read)

    return _fine_tuned(begin, out, config, resume, progress, time.perf_counter())


def finetune_config(given: FinetuneConfig | None) -> FinetuneConfig:
    """The given configuration or defaults; UserError if it is of another type."""
    if given is not None and not isinstance(given, FinetuneConfig):
        raise UserError(
            f"config is of type {type(given).__name__}; give a FinetuneConfig (xfm.config.finetune), "
            'such as FinetuneConfig(preset="fast")'
        )
    return given or FinetuneConfig()


def _opened(
    task: str,
    model: Path | str,
    config: FinetuneConfig,
    out: Path,
    progress: bool,
    given: tuple[Table, Table | None, Table | None],
    columns: Mapping[str, str] | str,
    pictures: Path | str | None,
) -> Session:
    """The session of the rows of tables (training, validation, test), in all processes; pictures in cells and
    the split go to `out`."""
    spec, splits = task_spec(task), as_splits(*given)
    named = (splits["train"], splits.get("validation"), splits.get("test"))
    tables = Tables(*named, ColumnMap.parse(columns), None if pictures is None else home_path(pictures))
    kind = spec.task_class(config.regression)

    def read(decoded: TaskImages, left_out: SkippedRecords) -> tuple[SplitRows[Any], RowOrigin]:
        return read_data(kind, tables, config, out, decoded, left_out, progress)

    run = Session.begin(task, model, config, out, progress, read)
    return replace(run, origin=replace(run.origin, tables=tables))


def _fine_tuned(
    begin: Begin, out: Path, config: FinetuneConfig, resume: bool, progress: bool, began: float
) -> FinetuneResult:
    """A fine-tuning by all processes; baselines, report and model folder are made by the first alone."""
    with contextlib.ExitStack() as lock:
        said = explaining_failures(lambda: saved_of(out))
        with distributed.processes(config.device) as process, said:
            resume = any(distributed.collect(resume or restarted(out)))  # torchrun counts them by machine
            distributed.on_first(lambda: lock.enter_context(locked(out)))
            distributed.on_first(lambda: check_folder(out, resume))
            run = begin(progress and process.is_first)
            distributed.on_first(lambda: _check_shared(run))
            made_of = {"model": run.model, "data": digest(run.data.train)}
            maker = ResultOrigin("finetune", made_of, f"{run.type.spec.name} from {run.model}")
            if not resume:
                distributed.on_first(lambda: run.left_out.write(out))
            distributed.on_first(lambda: sign(out, maker))
            run = limited(run, began)
            distributed.on_first(lambda: _say(run))
            trained = _train(run, resume)
        if not process.is_first:
            return trained[0]
        with distributed.alone():
            return finish(run, maker, *trained)


def _check_shared(run: Session) -> None:
    asked = {"a time limit": bool(run.config.minutes), "a probe": run.probed}
    found = [what for what, wanted in asked.items() if wanted]
    if found and distributed.world() > 1:
        raise UserError(
            f"{found[0]} is for one process, and torchrun has started {distributed.world()}: start it "
            "without torchrun, or leave that out"
        )


def limited(run: Session, began: float) -> Session:
    """The run of a command that began then, with the seconds of each training that a time limit leaves."""
    config, whole = run.config, 60 * run.config.minutes
    if not whole:
        return replace(run, began=began)
    single = run.type.single(run.data.train) if config.baseline else {}
    share = 1.0 if run.probed else min(1.0, (config.baseline_steps or config.steps) / config.steps)
    trainings = 1 + len(single) * share
    kept = (RESERVED + BASELINES * config.baseline + INTERPOLATION * bool(config.interpolate)) * whole
    seconds = max(LEAST * whole, whole - (time.perf_counter() - began) - kept) / trainings
    if run.progress:
        said = f"{config.minutes:.3g} minutes in all, {seconds:.0f} s for each training"
        tqdm.write(f"Time limit: {said}.", file=sys.stderr)
    return replace(run, limit=seconds, began=began)


def _say(run: Session) -> None:
    write_resolved(run)
    if run.progress:
        tqdm.write(run.summary(), file=sys.stderr)
        decided = ", ".join(f"{name} {value}" for name, value in run.decisions.items())
        tqdm.write(f"Preset {run.config.preset} decided: {decided or 'nothing'}.", file=sys.stderr)
    if run.progress and run.left_out.rows:
        tqdm.write(f"Note: {run.left_out.sentence(run.out / BAD_FILE)}", file=sys.stderr)


def _train(run: Session, resume: bool) -> tuple[FinetuneResult, dict[str, BaselineResult], dict[str, float]]:
    # The common work of all processes: result, trainings without a modality, seconds of both.
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
    return FinetuneResult(run.out / MODEL_FOLDER, {}, task, predictions, tuned), single, seconds


def check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that holds results, a model, pictures, or a run that is not to be continued."""
    (what, maker), free = holding(out) or ("", None), free_name(out)
    ours = maker is not None and maker.command == "finetune"
    if ours and (out / METRICS).exists():
        raise UserError(f"{out} holds a finished run; choose another folder, such as --out {free}")
    if ours and not resume:
        require_new(out)
    if what and not (ours and resume):
        raise UserError(f"{out} holds {what}; choose another folder, such as --out {free}")
    lying = out.iterdir() if not what and out.is_dir() else ()
    if any(path.suffix.lower() in PICTURE_SUFFIXES for path in lying):
        raise UserError(f"{out} holds pictures; choose another folder, such as --out {free}")


def check_upload(name: str, config: FinetuneConfig) -> None:
    """Check repository and adapter before the training, and warn without a token."""
    from huggingface_hub import get_token

    check_repository(name)
    if config.tune.save_adapter_only:
        raise UserError(
            f"{name}: push_to_hub uploads a whole model, and tune.save_adapter_only keeps what was "
            "learned alone: leave one of the two out (`xfm export --format merged` makes a whole model of a "
            "finished run, which can be uploaded)"
        )
    if get_token() is None and is_first_process():
        note = f"Note: {name} will need a token when the training has ended, and there is none; {LOG_IN}."
        tqdm.write(note, file=sys.stderr)


def upload(done: FinetuneResult, name: str) -> str:
    """Upload the model of a finished run to a (new: private) repository; gives the commit's address."""
    try:
        return XFM.from_pretrained(done.model).push_to_hub(name, message=f"Fine-tuned: {done.task.spec.name}")
    except UserError as error:
        raise UserError(
            f"{error}; the run is finished and stays as it is: upload its model later in Python with "
            f"xfm.XFM.from_pretrained({str(done.model)!r}).push_to_hub({name!r})"
        ) from error


STEPS, SHOWN_CLASSES = 6, 12
"""Steps of a dry run that are timed, after one that is not; and classes that it names."""


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
) -> str:
    """What `finetune` would do with these arguments, in lines; some steps are timed and thrown away, nothing
    is written."""
    refuse_none(task=task, model=model, train=train)
    config, model, began = finetune_config(config), home_path(model), time.perf_counter()
    if out is not None:
        check_folder(home_path(out), False)
    tables = (train, valid, test), columns, pictures
    with TemporaryDirectory(prefix="xfm-dry-run-") as folder:
        run = _opened(task, model, config, Path(folder), progress, *tables)
        return _plan(limited(run, began))


def _plan(run: Session) -> str:
    config = run.config
    classes = Counter(name for row in run.data.train for name in run.type.labels_of(row))
    shown = [f"{name} {count:,}" for name, count in classes.most_common(SHOWN_CLASSES)]
    more = f", and {len(classes) - SHOWN_CLASSES} more" if len(classes) > SHOWN_CLASSES else ""
    seconds = 0.0 if run.probed else _step_seconds(run) * config.steps
    lines = {
        "Left out": run.left_out.sentence(BAD_FILE),
        "Classes": f"{len(classes)}: {', '.join(shown)}{more} (training rows)" if classes else "",
        "Plan": run.summary(),
        "Limit": f"{config.minutes:.3g} minutes, of which {run.limit:.0f} s for each training",
        "Decided": ", ".join(f"{name} {value}" for name, value in run.decisions.items()),
        "Time": f"about {readable_seconds(seconds)} for all steps; predictions and baselines come on top",
    }
    absent = {"Limit": not run.limit, "Time": not seconds}
    told = [(name, text) for name, text in lines.items() if text and not absent.get(name)]
    return "\n".join(f"{name + ':':<10}{text}" for name, text in told)


def _step_seconds(run: Session) -> float:
    def seconds(steps: int) -> float:
        task = run.type(run.pretrained, run.pictures, run.data, task_settings(run.config))
        return tune(task, replace(run.config, steps=steps, report_to=[])).seconds

    seconds(1)  # which takes longer than those after it
    return seconds(STEPS) / STEPS
