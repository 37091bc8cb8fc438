"""The training of one task in a run folder of its own, resumable, with the best model at the end."""

import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from xfm.config.finetune import FinetuneConfig
from xfm.finetuning.adapt import adapt, is_low_rank
from xfm.finetuning.plan import training_config
from xfm.finetuning.watch import Look, Watch
from xfm.tasks.base import BatchT, Prediction, Row, Task
from xfm.training.averaging import WeightAverage
from xfm.training.loop import train


@dataclass(frozen=True)
class Tuned:
    """How a training went.

    Attributes:
        step: steps done.
        best: the look that chose the model, None without validation rows.
        looks: every look, in the order of the steps.
    """

    step: int
    best: Look | None
    looks: tuple[Look, ...]


def tune(
    task: Task[Row, BatchT, Prediction],
    valid: Sequence[Row],
    config: FinetuneConfig,
    folder: Path,
    settings: Mapping[str, Any],
    *,
    resume: bool = False,
    progress: bool = True,
) -> Tuned:
    """Train a task in place; its module then has the weights of the best look.

    Args:
        task: built with the configuration's batch size, seed, precision and device.
        valid: validation rows, possibly none.
        config: fitted (see `plan.fitted`).
        folder: run folder.
        settings: what a resumed run must agree with; values are plain, or dataclasses.
        resume: continue the folder's run.
        progress: show a bar and the looks.

    Raises:
        UserError: see `xfm.training.loop.train`.
        Interrupted: SIGINT or SIGTERM came; the run is saved.
    """
    adapt(task.module, config.tune)
    watch = Watch(task, valid, config, folder, progress)

    def is_new(name: str) -> bool:
        return task.is_new(name) or is_low_rank(name)

    averaged = WeightAverage(task.module, config.average) if config.average else None
    if resume:
        watch.resume()
    else:
        watch.check()
    step = max(watch.looks, default=0)
    if not (resume and watch.enough):
        result = train(
            averaged or task.module,
            task.loss,
            task.batches,
            training_config(config),
            folder,
            is_new=averaged.by_own_name(is_new) if averaged else is_new,
            settings=settings,
            origins=lambda batch: range(task.settings.batch_size),
            resume=resume,
            progress=progress,
            device=task.settings.device,
            finished=_finished(watch, averaged),
            after_step=averaged.update if averaged else lambda: None,
        )
        step = result.step
        if progress and step < config.steps:
            tqdm.write(
                f"step {step}: enough, {config.patience} looks brought no better model", file=sys.stderr
            )
        if averaged:
            averaged.keep()
        if step not in watch.looks:
            watch.look(step)
    watch.restore()
    task.module.eval()
    return Tuned(step, watch.best, tuple(watch.looks[step] for step in sorted(watch.looks)))


def _finished(watch: Watch[Row, BatchT, Prediction], averaged: WeightAverage | None) -> Callable[[int], bool]:
    """The watch's question; it looks at the average of the weights where there is one."""

    def finished(done: int) -> bool:
        with averaged.applied() if averaged else nullcontext():
            return watch.finished(done)

    return finished
