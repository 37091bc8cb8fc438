"""`finetune_rows`: from typed rows to a model folder, scores and a report, in one process or several."""

import contextlib
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.core.errors import UserError
from xfm.core.locks import locked
from xfm.core.results_folder import Maker, digest, free_name, holding, sign
from xfm.data.left_out import BAD_FILE
from xfm.data.pictures import PICTURE_SUFFIXES
from xfm.finetuning.budget import Budget
from xfm.finetuning.cross import FOLDS_FOLDER, cross_validate
from xfm.finetuning.finished import FinetuneResult, Trained, finish
from xfm.finetuning.origin import RowOrigin
from xfm.finetuning.resolved import write_resolved
from xfm.finetuning.session import Session
from xfm.finetuning.timing import limited
from xfm.finetuning.usable import partial_pictures, require_same_left_out, say_partial
from xfm.reports.stored import METRICS
from xfm.tasks.base import Blanked
from xfm.tasks.splits import SplitRows
from xfm.training import distributed
from xfm.training.checkpoint import list_checkpoints
from xfm.training.failures import explaining_failures
from xfm.training.pretrain import MODEL_FOLDER
from xfm.training.run_folder import require_new, restarted, saved_of


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

    def begin(shows: bool, resume: bool) -> tuple[Session, RowOrigin]:
        rows = origin or RowOrigin()
        return Session.begin(kind, model, data, config, out, shows, rows), rows

    return fine_tuned(begin, out, config, resume, progress, budget)


def fine_tuned(
    begin: Callable[[bool, bool], tuple[Session, RowOrigin]],
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
        begin: reads everything, given whether to show bars, and whether the run goes on; every process calls
            it.
        out: run folder.
        config: as it was given; says the device and the time limit.
        resume: continue the folder's run; of itself if torchrun has started the processes again, or if
            another process of the run does.
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
            # torchrun counts restarts by machine
            resume = any(distributed.collect(resume or _started_again(out)))
            distributed.on_first(lambda: lock.enter_context(locked(out)))
            distributed.on_first(lambda: check_folder(out, resume))
            run, origin = begin(progress and process.is_first, resume)
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
            return finish(origin, trained, maker, budget)


def _started_again(out: Path) -> bool:
    return any(map(restarted, (out, *(out / FOLDS_FOLDER).glob("*"))))


def _check_shared(run: Session, budget: Budget) -> None:
    asked = {"a time limit": bool(budget.minutes), "folds": bool(run.config.folds), "a probe": run.probed}
    found = [what for what, wanted in asked.items() if wanted]
    if found and distributed.world() > 1:
        raise UserError(
            f"{found[0]} is for one process, and torchrun has started {distributed.world()}: start it "
            "without torchrun, or leave that out"
        )


def _open(run: Session, maker: Maker, resume: bool) -> None:
    if resume:
        require_same_left_out(run.out, run.left_out)
    else:
        run.left_out.write(run.out)
    sign(run.out, maker)


def _say(run: Session, origin: RowOrigin) -> None:
    write_resolved(run.out, run, origin)
    if run.progress:
        tqdm.write(run.summary(), file=sys.stderr)
        decided = ", ".join(f"{one.name} {one.value}" for one in run.decisions)
        tqdm.write(f"Preset {run.config.preset} decided: {decided or 'nothing'}.", file=sys.stderr)
    say_partial(partial_pictures(run.pictures, origin.places))
    if run.progress and run.left_out.rows:
        tqdm.write(f"Note: {run.left_out.sentence(run.out / BAD_FILE)}", file=sys.stderr)


def _train(run: Session, resume: bool) -> Trained:
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
    return Trained(run, task, tuned, predictions, single, crossed, seconds)


def check_folder(out: Path, resume: bool) -> None:
    """Refuse a folder that holds results, a model, pictures, or a run that is not to be continued.

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
    lying = out.iterdir() if found is None and out.is_dir() else ()
    if any(path.suffix.lower() in PICTURE_SUFFIXES for path in lying):
        raise UserError(f"{out} holds pictures; choose another folder, such as --out {free}")
