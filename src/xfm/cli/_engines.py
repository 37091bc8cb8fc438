"""Who does the work of a command: its options, and the engine that they mean."""

from typing import TYPE_CHECKING

from xfm.cli._options import option
from xfm.config.inference import EngineName, SharingConfig
from xfm.config.options import ArgumentParser, Namespace, add_fields, assemble
from xfm.core.errors import UserError
from xfm.core.paths import home_path

if TYPE_CHECKING:
    from xfm.executors.executor import Executor
    from xfm.inference.shared_prediction import PartsTarget, PredictionCounts

ARRAY = "PLACE/COUNT, from 0: do a share of the work, as one of several processes"


def add_sharing(parser: ArgumentParser) -> None:
    """Options of a command whose rows processes and machines can share."""
    option(parser, "--array", ARRAY)
    add_fields(parser, SharingConfig)


def is_shared(chosen: Namespace) -> bool:
    """Whether any of those options was given."""
    return chosen.array is not None or assemble(SharingConfig, chosen).asked


def sharing_engine(chosen: Namespace, device: str, anew: bool = False) -> "Executor":
    """The executor that the options of sharing name; `anew` is whether `--restart` was given."""
    config = assemble(SharingConfig, chosen)
    on_gpu = _takes_gpu(device)
    processes = config.processes
    if config.engine is not EngineName.RAY and not processes and on_gpu:
        processes = 1
    restart = "restart" if anew else None
    return chosen_engine(config.engine, processes, chosen.array, restart, device != "cpu")


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

    work = RowWork(
        task,
        everywhere(chosen.model),
        home_path(chosen.input).absolute(),
        options,
        chosen.columns,
        keep,
        None if chosen.pictures is None else home_path(chosen.pictures).absolute(),
        chosen.device,
        chosen.precision,
        chosen.batch_size,
        tuple(chosen.allow_urls),
        readers,
    )
    engine = sharing_engine(chosen, chosen.device, chosen.restart)
    limits = {"max_bad": chosen.max_bad, "restart": chosen.restart, "progress": not chosen.quiet}
    try:
        return answer_together(work, target, engine, assemble(SharingConfig, chosen).rows, **limits)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"stopped; the same command goes on with {target.path}") from None


def _takes_gpu(device: str) -> bool:
    if device != "auto":
        return device != "cpu"
    import torch

    return torch.cuda.is_available()


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
