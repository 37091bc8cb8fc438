"""The training loop of pre-training and of every fine-tuning."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic

import torch
from torch import nn

from xfm.config.training import Change, TrainingConfig
from xfm.errors import SaidElsewhere
from xfm.files import writing
from xfm.modeling.precision import autocast
from xfm.objectives.losses import Losses
from xfm.training import distributed
from xfm.training.failures import explaining_failures
from xfm.training.feed import Feed
from xfm.training.logging import RunLog, Window
from xfm.training.memory import prepare_process
from xfm.training.optim import set_rate
from xfm.training.progress import ENDLESS, Moment, Progress, progress_of
from xfm.training.result import TrainResult, batch_origins
from xfm.training.run_folder import Describe, Remembers, RunFolder, farewell, saved_of
from xfm.training.signals import Interrupted, StopRequest
from xfm.training.stepping import B, Stepper, Whole
from xfm.training.storage import saved_before
from xfm.training.strategy import Compute

Validate = Callable[[Callable[[Compute[Any]], Any]], Mapping[str, float]]
"""See `train`."""


def train(
    model: nn.Module,
    losses: Callable[[Any, torch.Generator], Losses],
    batches: Callable[[int, int], Iterator[B]],
    config: TrainingConfig,
    folder: Path | None = None,
    *,
    course: Progress | None = None,
    is_new: Callable[[str], bool] = lambda name: False,
    settings: Any = None,
    origins: Callable[[B], Sequence[object]] = batch_origins,
    count: Callable[[B], float] | None = None,
    resume: bool = False,
    progress: bool = True,
    tensorboard: bool = True,
    device: str = "auto",
    describe: Describe | None = None,
    after_step: Callable[[], None] = lambda: None,
    finished: Callable[[int], bool] | None = None,
    data: Mapping[str, str] = MappingProxyType({}),
    allowed: frozenset[Change] = frozenset(),
    whole: Whole[B] | None = None,
    stage: Callable[[B], Hashable] = lambda batch: None,
    validate: Validate | None = None,
    memory: Remembers | None = None,
) -> TrainResult:
    """Train a model in place.

    Everything random follows from `config.seed` and the batches; a run that was stopped and resumed computes
    the same numbers as one that was not (on CPU bit for bit).

    Args:
        model: moved to the device; parameters with `requires_grad` False stay as they are.
        losses: losses of a batch on the device; it calls the model. The generator lies on the device too.
        batches: the batches `start` (included) to `stop` (excluded) of the run; must give the same batch for
            the same index whenever it is called. With accumulation a step takes `config.accumulate` of them.
        config: steps, schedule, precision and so on.
        folder: for `config.yaml`, `schedule.csv`, `log.jsonl`, `tensorboard/`, `checkpoints/`; may be None.
        course: how far the run is before each step, and when it ends; by `config` if not given.
        is_new: whether the parameter of that name learns at `new_lr_multiplier` times the rate.
        settings: the resolved configuration, a dataclass or a mapping of such, which the folder keeps and a
            resumed run must agree with; `config` alone if not given.
        origins: where a batch's samples came from, one entry a sample, for messages and samples per second.
        count: how many rows (tokens, ...) the losses of a batch are means of, where processes and accumulated
            batches share those of a step: its loss is then their mean over all of them. Without, each counts
            the same.
        resume: continue from the folder's newest whole checkpoint.
        progress: show a bar on the terminal.
        tensorboard: write TensorBoard's files too.
        device: `auto`, or a torch device.
        describe: writes further files into each checkpoint.
        after_step: called after each step that changed the weights, such as `WeightAverage.update`.
        finished: asked after every step, given the steps done, whether that was enough (early stopping); it
            may look at the model, and must leave its mode and every random state as they are.
        data: the files of the data with a digest each, which a resumed run must agree with.
        allowed: what a resumed run may have otherwise; it is noted in log and checkpoints.
        whole: what the losses take in place of each of a step's batches: parts whose losses add up. Given
            are all batches on the device, the generator and a way to compute something with the model; for
            losses that depend on the whole step, or batches that are taken in parts.
        stage: of a batch; steps of one stage use the same parameters. None where nobody knows.
        validate: gives `loss` and the losses by name on batches that are not trained on, given a way to
            compute something with the model, without gradient. It is asked every `config.validate_every`
            steps and at the end, with the model in evaluation mode, once more with the average of the weights
            if there is one, and must leave every random state as it is.

    Returns:
        How the run ended.

    Raises:
        UserError: nothing to resume, another configuration, data or number of processes, damaged
            checkpoints, a full disk, too little memory, a loader or another process that died, or
            `config.max_bad_steps` NaN or infinite losses in a row.
        Interrupted: SIGINT or SIGTERM came; the step was finished and saved (if there is a folder).
    """
    resolved = {"training": config} if settings is None else settings
    with (
        distributed.processes(device, config.timeout) as process,
        explaining_failures(lambda: saved_of(folder)),
    ):
        beside = config.save_async
        place = RunFolder(folder, resolved, process, describe, data, allowed, beside) if folder else None
        course = course or progress_of(config)
        work = model, losses, config, process, place, is_new, origins, after_step, count, whole, stage
        loop = _Loop(Stepper(*work), batches, config, course, place, process, finished, validate, memory)
        try:
            with nullcontext() if folder is None else writing(folder, lambda: saved_before(folder)):
                start = loop.prepare(resume)
                loop.open_log(start, progress, tensorboard)
                with StopRequest() as stop:
                    return loop.run(start, stop)
        finally:
            loop.close()


class _Loop(Generic[B]):
    """The run around its steps; `train` says what the arguments mean."""

    def __init__(
        self,
        steps: Stepper[B],
        batches: Callable[[int, int], Iterator[B]],
        config: TrainingConfig,
        course: Progress,
        folder: RunFolder | None,
        process: distributed.Process,
        finished: Callable[[int], bool] | None,
        validate: Validate | None,
        memory: Remembers | None,
    ) -> None:
        self.steps, self.batches, self.config, self.folder = steps, batches, config, folder
        self.course, self.kept = course, list[Moment]()
        self.process, self.finished, self.validate, self.memory = process, finished, validate, memory
        self.log: RunLog | None = None
        self.notes: list[str] = []

    def prepare(self, resume: bool) -> int:
        """Check the folder, load the checkpoint to continue from, and return the first step."""
        if self.folder is None:
            return 0
        if not resume:
            self.folder.begin()
            return 0
        steps = self.steps
        found = self.folder.resume(steps.model, steps.optimizer, steps.generator, steps.average, self.memory)
        state, self.notes = found
        if state is None:
            return 0
        steps.precision = state.precision
        steps.samples.resume(state.samples)
        self.kept = self.folder.kept_moments(state.step)
        return state.step

    def open_log(self, start: int, progress: bool, tensorboard: bool) -> None:
        """Open bar and files on the first process, and tell what happened before."""
        first = self.process.is_first
        self.log = RunLog(
            self.folder.path if self.folder is not None and first else None,
            self.course.planned,
            start,
            self.kept,
            progress=progress and first,
            tensorboard=tensorboard,
        )
        for note in self.notes:
            self.log.event(start, "resumed", note)

    def close(self) -> None:
        """Close bar and files, and leave the model as it was built."""
        self.steps.close()
        if self.log is not None:
            self.log.close()
        if self.folder is not None:
            self.folder.close()

    def run(self, start: int, stop: StopRequest) -> TrainResult:
        """All steps from `start`."""
        assert self.log is not None
        self.course.begin(start, self.kept, self.log.decided)
        accumulate, steps = self.config.accumulate, self.course.planned or ENDLESS
        with Feed(self.batches(start * accumulate, steps * accumulate), accumulate) as feed:
            return self._take(start, feed, stop)

    def _take(self, start: int, feed: Feed[B], stop: StopRequest) -> TrainResult:
        assert self.log is not None
        config, course, began = self.config, self.course, time.perf_counter()
        prepare_process()
        last: Mapping[str, Any] = {}
        saved = start  # nothing to save before the first step
        self.steps.window = Window()
        for step in count(start):
            if course.over(step):
                break
            rate = set_rate(self.steps.optimizer, config.optim, step, course)
            micro = feed.fetch(stop)
            if micro is None and self.process.world > 1:  # the others wait in a step that will not be
                if self.folder is not None:
                    self.folder.close()
                raise Interrupted(
                    f"stopped while waiting for data; {saved_of(self.folder and self.folder.path)}"
                )
            self.log.records(step + 1, micro or ())
            stopping = micro is None or self.steps.take(step, micro, stop, self.log)
            done = step if micro is None else step + 1
            if done > step:
                self.log.advance()
            over = course.over(done)
            window = self.steps.window
            if window.steps and (done % config.log_every == 0 or over or stopping):
                window.samples = sum(distributed.collect(window.samples))
                totals = self.steps.samples.totals()
                last = self.log.step(done, window, rate, course.at(done).share, totals)
                self.steps.window = Window()
            if done > step and (over or (config.validate_every and done % config.validate_every == 0)):
                self._validate(done)
            ended = over or (done > step and self._enough(done))
            due = config.save_every > 0 and done % config.save_every == 0
            if self.folder and (stopping or due or ended) and done != saved:
                self._save(self.folder, done)
                saved = done
            if self.folder and (stopping or ended):
                self.folder.settle()
            # Asked for in the last step, or while it was looked at and saved: more may follow in the command.
            # Of several processes each has its own answer here, and all must go the same way.
            stopping = stopping or (ended and self.process.world == 1 and stop.received)
            if ended and not stopping:
                return self._result(done, began, last)
            if stopping:
                said = None if self.process.is_first else SaidElsewhere()
                raise Interrupted(farewell(done, self.folder and self.folder.path)) from said
        return self._result(start, began, last)

    def _save(self, folder: RunFolder, done: int) -> None:
        steps = self.steps
        tensors, samples = (steps.model, steps.optimizer, steps.generator), steps.samples.totals()
        folder.save(done, steps.precision, self.config.keep, *tensors, samples, steps.average, self.memory)

    def _result(self, step: int, began: float, last: Mapping[str, Any]) -> TrainResult:
        changes = self.folder.changes if self.folder else ()
        skipped, precision, average = self.steps.skipped, self.steps.precision, self.steps.average
        seconds = time.perf_counter() - began
        return TrainResult(step, skipped, seconds, precision, last, changes, average)

    def _enough(self, done: int) -> bool:
        """Whether the run may end before its last step."""
        return self.finished is not None and distributed.from_first(self.finished(done))

    def _validate(self, done: int) -> None:
        """Look at the losses of what is not trained on, with the weights and with their average."""
        if self.validate is None:
            return
        assert self.log is not None
        average = self.steps.average
        self.steps.model.eval()
        losses, of_average = self._look(self.validate), None
        if average is not None:
            with average.applied():
                of_average = self._look(self.validate)
        self.steps.model.train()
        self.log.validation(done, losses, of_average)

    def _look(self, validate: Validate) -> Mapping[str, float]:
        """The losses with the weights that the model has; the pass keeps nothing of them."""
        with autocast(self.steps.precision, self.process.device):
            found = validate(self.steps.strategy.run)
        self.steps.strategy.refresh()
        return found
