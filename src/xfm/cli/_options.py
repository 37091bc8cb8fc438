"""Options as the commands have them: their default gives their kind, and shared ones have one text; and who
does the work of a command."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from xfm.config.inference import UNIT_ROWS, EngineName, SharingConfig
from xfm.config.options import ArgumentParser, Namespace, add_fields, add_option, assemble
from xfm.config.tables import MAX_BAD
from xfm.core.errors import UserError, amount
from xfm.core.paths import home_path

if TYPE_CHECKING:
    from xfm.executors.executor import Executor
    from xfm.inference.shared_prediction import PartsTarget, PredictionCounts

_SHARED: dict[str, tuple[str, Any]] = {
    "--model": ("model folder, run, `small` or `photos`, or owner/name[@revision] of the hub", None),
    "--columns": ("what the columns are called: FIELD=COLUMN,..., FIELD= for none", ""),
    "--pictures": ("folder that paths of pictures start from", None),
    "--allow-urls": ("hosts to fetch pictures from, with commas: *.example.org; '*' for any", []),
    "--resume": ("continue the run in the out folder exactly", False),
    "--device": ("auto, cpu, cuda, cuda:1, ...", "auto"),
    "--quiet": ("no progress bars", False),
}
"""What an option of several commands means, and its default."""
PRECISION = "fp32, bf16, or auto: bf16 where it is faster; if not given, fp32"
"""Of the commands that use a model."""


def option(parser: ArgumentParser, name: str, meaning: str = "", default: Any = None, **more: Any) -> None:
    """Add an option with its own or the shared help; a False default makes a switch, None a text."""
    if not meaning:
        meaning, default = _SHARED[name][0], default if default is not None else _SHARED[name][1]
    if default is False:
        parser.add_argument(name, action="store_true", help=meaning)
    else:
        kind = more.pop(
            "type", list[str] if isinstance(default, list) else str if default is None else type(default)
        )
        add_option(parser, name, kind, **{"default": default, "help": meaning, **more})


def shared(parser: ArgumentParser, *names: str) -> None:
    """Add options with the shared help."""
    for name in names:
        option(parser, name)


def add_max_bad(parser: ArgumentParser, what: str = "rows with an unreadable picture") -> None:
    """Add the option; None stands for the rule of `MAX_BAD`."""
    rule = f"if not given, {MAX_BAD} and half of the rows; 0 ends the run at the first"
    option(parser, "--max-bad", f"{what} to leave out at most; {rule}", type=int)


def add_answering(parser: ArgumentParser, bad: str) -> None:
    """Options of a command that answers rows; `bad` are those that `--max-bad` leaves out."""
    option(parser, "--columns")
    option(parser, "--keep", "columns to copy to the answers, with commas", "")
    option(parser, "--pictures", "folder that paths start from, if not the input's")
    add_max_bad(parser, bad)
    option(parser, "--restart", "throw away what OUT holds", False)
    option(parser, "--allow-urls", type=list[str])
    option(parser, "--batch-size", "rows per pass", 32)
    option(parser, "--precision", PRECISION)
    shared(parser, "--device", "--quiet")
    option(parser, "--array", ARRAY)
    add_fields(parser, SharingConfig)


def answers_said(found: "PredictionCounts", one: str, several: str, out: Path, bad: Path) -> str:
    """How many answers there are in a file or folder, and how many rows were left out."""
    from xfm.data.skipped import said_left_out

    count = found.before + found.answered
    before = f" ({found.before:,} of them by earlier runs)" if found.before else ""
    said = f"{amount(count, one, several)} {out}{before}."
    if found.skipped:
        said += f"\n{said_left_out(found.skipped, found.skipped + count, found.first_bad, bad)}"
    return said


# ---------------------------------------------------------------- who does the work
ARRAY = "PLACE/COUNT, from 0: do a share of the work, as one of several processes"


def is_shared(chosen: Namespace) -> bool:
    """Whether any of those options was given."""
    return getattr(chosen, "array", None) is not None or assemble(SharingConfig, chosen) != SharingConfig()


def sharing_engine(chosen: Namespace, device: str, anew: bool = False) -> "Executor":
    """The executor that the options of sharing name; `anew` is whether `--restart` was given."""
    config = assemble(SharingConfig, chosen)
    processes = config.processes
    if config.engine is not EngineName.RAY and not processes and device != "cpu":
        import torch

        processes = int(device != "auto" or torch.cuda.is_available())
    restart = "restart" if anew else None
    return chosen_engine(config.engine, processes, getattr(chosen, "array", None), restart, device != "cpu")


def answer_in_units(
    chosen: Namespace,
    task: str,
    options: object,
    keep: tuple[str, ...],
    target: "PartsTarget",
    readers: int | None = None,
) -> "PredictionCounts | None":
    """Answer the rows that a command's options tell of; None where others of an array have work left."""
    from xfm.inference.row_units import RowWork, everywhere
    from xfm.inference.shared_prediction import answer_together

    model, source = everywhere(chosen.model), home_path(chosen.input).absolute()
    root = None if chosen.pictures is None else home_path(chosen.pictures).absolute()
    how = (chosen.device, chosen.precision, chosen.batch_size, tuple(chosen.allow_urls), readers)
    work = RowWork(task, model, source, options, chosen.columns, keep, root, *how)
    engine = sharing_engine(chosen, chosen.device, chosen.restart)
    limits = {"max_bad": chosen.max_bad, "restart": chosen.restart, "progress": not chosen.quiet}
    try:
        return answer_together(work, target, engine, chosen.unit_size or UNIT_ROWS, **limits)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command goes on with {target.path}") from None


def chosen_engine(
    engine: EngineName, workers: int, array: str | None, anew: str | None, gpus: bool = False
) -> "Executor":
    """The executor; 0 workers are one a core, `anew` is the option that throws begun work away."""
    from xfm.core.processes import cores
    from xfm.executors.executor import ArrayTask, LocalPool, RayTasks

    if array is not None and (engine is EngineName.RAY or anew):
        other = f"--{anew}" if anew else "--engine ray"
        raise UserError(f"--array is for processes that others start, {other} is not: leave one out")
    if engine is EngineName.RAY:
        return RayTasks(workers, gpus)
    workers = workers or cores()
    return LocalPool(workers) if array is None else ArrayTask(array, workers)


def others_have_not(array: str) -> str:
    """What is said where a share is done, and others are not."""
    return (
        f"The share {array} is done as far as it can be: others are not. When they have ended, run the array "
        "once more, or the same command without --array, which does what is left."
    )
