"""The training of one task: in a run folder, resumable and watched, or without any file."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor
from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.config.training import Change, Precision
from xfm.finetuning.adapt import adapt, is_low_rank
from xfm.finetuning.plan import training_config
from xfm.finetuning.probing import LinearFit
from xfm.finetuning.watch import Look, Watch
from xfm.modeling.low_rank import LowRank
from xfm.objectives.losses import Losses
from xfm.tasks.base import BatchT, Prediction, Row, Task, seeded
from xfm.tasks.reading import Portion
from xfm.training import distributed
from xfm.training.averaging import WeightAverage
from xfm.training.loop import train
from xfm.training.progress import ByLimit
from xfm.training.schedule import SCHEDULE, read_schedule


@dataclass(frozen=True)
class TuningRun:
    """How a training went.

    Attributes:
        step: steps done.
        best: the look that chose the model, None without validation rows.
        looks: every look, in the order of the steps.
        losses: total loss of each step of a run without a folder, as far as this process has computed it; the
            others have them in their log.
        seconds: of the training, since it began or was continued.
        probe: what was fitted, where nothing else was trained.
        limited: whether the clock ended it before its steps.
        precision: arithmetic of its passes; None where nothing was trained here.
        additions: LoRA's, which the matrices have been given, by the names of their layers.
    """

    step: int
    best: Look | None = None
    looks: tuple[Look, ...] = ()
    losses: tuple[float, ...] = ()
    seconds: float = 0.0
    probe: LinearFit | None = None
    limited: bool = False
    precision: Precision | None = None
    additions: Mapping[str, LowRank] = field(default_factory=dict)


def tune(
    task: Task[Row, BatchT, Prediction],
    config: FinetuneConfig,
    valid: Sequence[Row] = (),
    folder: Path | None = None,
    settings: Mapping[str, Any] = MappingProxyType({}),
    *,
    resume: bool = False,
    progress: bool = False,
    minutes: float = 0.0,
    limit: float = 0.0,
) -> TuningRun:
    """Train a task in place; its module then has the weights of the best look, or the last.

    The processes of a group share each batch, and the validation rows; a run may go on with another number.

    Args:
        task: has batch size, seed, precision and device.
        config: fitted (see `plan.fitted`): no step, rate or batch size is 0.
        valid: validation rows, possibly none; they need a folder.
        folder: run folder; None keeps nothing.
        settings: what a resumed run must agree with; values are plain, or dataclasses.
        resume: continue the folder's run.
        progress: show a bar and the looks.
        minutes: time for the training, which then decides in place of the steps; 0: the steps do.
        limit: seconds after which the training ends before its steps; 0 for none.

    Raises:
        UserError: see `xfm.training.loop.train`.
        Interrupted: SIGINT or SIGTERM came; the run is saved, if there is a folder.
    """
    with seeded(task.settings.seed):  # LoRA's additions begin with draws
        adapt(task.module, config.tune)
    course = ByLimit(config.steps, limit) if limit else None
    watch = Watch(task, valid, config, folder, progress, course and (lambda step: course.at(step).share))
    if course and resume and folder:
        course.begin(kept=read_schedule(folder / SCHEDULE))

    def is_new(name: str) -> bool:
        return task.is_new(name) or is_low_rank(name)

    averaged = WeightAverage(task.module, config.average) if config.average else None
    if resume:
        watch.resume()
    else:
        watch.check()
    step, seconds, limited, precision = max(watch.looks, default=0), 0.0, False, None
    totals: list[tuple[float, Tensor]] = []
    if not (resume and watch.enough):
        result = train(
            averaged or task.module,
            _losses(task, None if folder else totals),
            lambda start, stop: task.portions(start, stop, config.accumulate),
            training_config(config, task.settings, minutes),
            folder,
            course=course,
            is_new=averaged.by_own_name(is_new) if averaged else is_new,
            settings=settings,
            origins=lambda portion: range(portion.rows),
            count=lambda portion: portion.count,
            resume=resume,
            progress=progress,
            device=task.settings.device,
            finished=_finished(watch, averaged),
            after_step=averaged.update if averaged else lambda: None,
            allowed=frozenset({Change.PROCESSES}),
        )
        step, seconds, precision = result.step, result.seconds, result.precision
        limited = limit > 0 and step < config.steps and not watch.enough
        if progress and step < config.steps and (limited or not minutes):
            _say_end(step, limited, config.patience)
        if averaged:
            averaged.keep()
        if step not in watch.looks:
            watch.look(step)
    distributed.barrier()  # the first process has written what all of them read
    watch.restore()
    task.module.eval()
    looks = tuple(watch.looks[step] for step in sorted(watch.looks))
    losses = _step_losses(totals, config.accumulate)
    return TuningRun(step, watch.best, looks, losses, seconds, limited=limited, precision=precision)


def _say_end(step: int, limited: bool, patience: int) -> None:
    enough = f"enough, {patience} looks brought no better model"
    tqdm.write(f"step {step}: {'the time for the training is over' if limited else enough}", file=sys.stderr)


def _losses(
    task: Task[Row, BatchT, Prediction], totals: list[tuple[float, Tensor]] | None
) -> Callable[[Portion[BatchT], torch.Generator], Losses]:
    """The task's losses of portions; their totals are appended, and stay on the device until all are read."""

    def losses(portion: Portion[BatchT], generator: torch.Generator) -> Losses:
        found = task.loss(portion.batch, generator)
        if totals is not None:
            totals.append((portion.count, found.total.detach().float()))
        return found

    return losses


def _step_losses(totals: Sequence[tuple[float, Tensor]], accumulate: int) -> tuple[float, ...]:
    if not totals:
        return ()
    losses = torch.stack([total for _, total in totals]).view(-1, accumulate).cpu()
    counts = torch.tensor([float(count) for count, _ in totals]).view(-1, accumulate)
    return tuple((losses * (counts / counts.sum(1, keepdim=True))).sum(1).tolist())


def _finished(watch: Watch[Row, BatchT, Prediction], averaged: WeightAverage | None) -> Callable[[int], bool]:
    """The watch's question; it looks at the average of the weights where there is one."""

    def finished(done: int) -> bool:
        with averaged.applied() if averaged else nullcontext():
            return watch.finished(done)

    return finished
