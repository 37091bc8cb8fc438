"""`finetune_rows`: from typed rows to a model folder, scores and a report."""

import sys
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.config.next_command import next_command
from xfm.config.plain import to_plain
from xfm.data.left_out import BAD_FILE
from xfm.errors import UserError
from xfm.finetuning.compare import compare
from xfm.finetuning.flags import flags_of
from xfm.finetuning.leaderboard import Leaderboard
from xfm.finetuning.report import write_report
from xfm.finetuning.saved import save_tuned
from xfm.finetuning.session import AnyTask, RowOrigin, Session, clear
from xfm.finetuning.split_scores import add_scores
from xfm.finetuning.tuning_run import TuningRun
from xfm.finetuning.usable import partial_pictures, require_same_left_out, say_partial
from xfm.locks import holds
from xfm.processes import require_alone
from xfm.reports.results import PartResult
from xfm.reports.scores import Score, write_json, write_scores
from xfm.reports.stored import DETAILS, METRICS
from xfm.results_folder import Maker, digest, free_name, holding, sign
from xfm.tasks.base import Blanked
from xfm.tasks.splits import SplitRows
from xfm.training.flags import Flag, plain_flags
from xfm.training.logging import LOG_FILE, log_lines
from xfm.training.pretrain import MODEL_FOLDER
from xfm.training.run_folder import require_new


@dataclass(frozen=True)
class FinetuneResult:
    """A finished fine-tuning.

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
    uploaded: str = ""

    @property
    def verdict(self) -> str:
        """Which model to use, in a sentence, by the first split; empty where nothing was scored."""
        return next((board.verdict for board in self.leaderboards.values()), "")


@holds("out")
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

    Returns:
        The model's folder, scores and predictions.

    Raises:
        UserError: no model, more pictures that cannot be read than may be, a folder that holds another run.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    require_alone("fine-tuning")
    origin = origin or RowOrigin()
    check_folder(out, resume)
    run = Session.begin(kind, model, data, config, out, progress, origin)
    if resume:
        require_same_left_out(out, run.left_out)
    else:
        run.left_out.write(out)
    if progress:
        tqdm.write(run.summary(), file=sys.stderr)
    say_partial(partial_pictures(run.pictures, run.places(origin)))
    if progress and run.left_out.rows:
        tqdm.write(f"Note: {run.left_out.sentence(out / BAD_FILE)}", file=sys.stderr)
    maker = Maker("finetune", {"model": run.model, "data": digest(data.train)}, f"{kind} from {run.model}")
    sign(out, maker)
    began = time.perf_counter()
    task, tuned = run.tuned(Blanked.NOTHING, out, resume)
    task.finish()
    tests = run.tests
    predictions = {name: task.predict(rows) for name, rows in tests.items()}
    seconds = {"training": time.perf_counter() - began}
    began = time.perf_counter()
    single = run.single_modality(tests, resume)
    compared = compare(run, task, tests, predictions, single, seconds["training"])
    seconds["baselines"] = time.perf_counter() - began
    result = PartResult()
    for name, rows in tests.items():
        others = {**single, **compared.strong}
        metrics = {baseline: found.metrics[name] for baseline, found in others.items()}
        add_scores(result, task, f"{kind}/{name}", rows, predictions[name], metrics)
    flags = tuple(_flags(run, task, tuned, compared.boards))
    said, path, boards = run.left_out.sentence(out / BAD_FILE), out / MODEL_FOLDER, compared.boards
    found = FinetuneResult(
        path, result.scores, task, predictions, tuned, said, boards, flags, _next(run, path, origin)
    )
    _save(run, found, result, origin, seconds, maker)
    return found


def _flags(run: Session, task: AnyTask, tuned: TuningRun, boards: Mapping[str, Leaderboard]) -> list[Flag]:
    """What was out of the ordinary."""
    metric, best = run.config.choose_by or task.primary, tuned.best
    cases = {"validation": (best.metrics[task.primary], len(run.data.valid))} if best else {}
    cases |= {name: (board.model.value, board.groups) for name, board in boards.items()}
    lines = log_lines(run.out / LOG_FILE)
    left_out = len(run.left_out.rows)
    return flags_of(tuned, run.config.steps, run.fitting, (metric, task.primary), cases, lines, left_out)


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
        "partial_pictures": partial_pictures(run.pictures, run.places(origin)),
        "left_out": run.left_out.kept_in(run.out),
        "made_by": asdict(maker),
        "leaderboards": {name: board.as_json() for name, board in found.leaderboards.items()},
        "flags": plain_flags(found.flags),
        "next": found.next_command,
    }
    write_json(run.out / DETAILS, details)
    write_report(
        run.out, found.task, run.tests, found.predictions, found.scores, found.tuned, details, origin.place_of
    )
    write_scores(run.out / METRICS, found.scores)
    clear(run.out)


def _next(run: Session, model: Path, origin: RowOrigin) -> str:
    """A command that can be pasted: the model's answers to the table that it was tested on."""
    rows = [*run.data.train, *run.data.valid, *(row for test in run.data.tests.values() for row in test)]
    shown = {picture for row in rows for picture in run.type.pictures_of(row)}
    task, table = run.type.spec.name, origin.table or "new.csv"
    return next_command(task, model, table, run.out, origin.columns, origin.pictures, shown, origin.hosts)
