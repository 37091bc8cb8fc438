"""The training loop of pre-training and of every fine-tuning."""

import time
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from functools import partial
from itertools import count
from pathlib import Path
from types import MappingProxyType
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from xfm.config.training import Change, TrainingConfig
from xfm.data.rng import mix
from xfm.data.schema import TensorFields
from xfm.errors import SaidElsewhere, UserError
from xfm.files import writing
from xfm.modeling.precision import autocast, resolve
from xfm.objectives.losses import Losses
from xfm.training import distributed
from xfm.training.failures import explaining_failures
from xfm.training.feed import Feed
from xfm.training.logging import LOG_FILE, RunLog, Window
from xfm.training.memory import prepare_process
from xfm.training.optim import build_optimizer, set_rate
from xfm.training.progress import ENDLESS, Moment, Progress, progress_of
from xfm.training.randomness import seed_all, seeded_generator
from xfm.training.result import TrainResult, batch_origins, shown_keys, why_skipped
from xfm.training.run_folder import Describe, RunFolder, farewell, saved_of
from xfm.training.samples import SampleCounts
from xfm.training.sharded import whole as whole_tensor
from xfm.training.sharing import balanced
from xfm.training.signals import Interrupted, StopRequest
from xfm.training.storage import SAVED_BEFORE
from xfm.training.strategy import OneProcess, recomputing, strategy_of

B = TypeVar("B", bound=TensorFields)
Whole = Callable[[Sequence[B], torch.Generator, Callable[[Callable[[], Any]], Any]], Sequence[Any]]
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
        whole: what the losses take in place of a step's batches, given all of them on the device, the
            generator and a way to compute something with the model; for losses that depend on the whole step.
        stage: of a batch; steps of one stage use the same parameters. None where nobody knows.

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
        work = model, losses, batches, config, course
        loop = _Loop(*work, place, is_new, origins, process, after_step, finished, count, whole, stage)
        try:
            with nullcontext() if folder is None else writing(folder, SAVED_BEFORE):
                start = loop.prepare(resume)
                loop.open_log(start, progress, tensorboard)
                with StopRequest() as stop:
                    return loop.run(start, stop)
        finally:
            loop.close()


class _Loop(Generic[B]):
    """State of a run; `train` says what the arguments mean."""

    def __init__(
        self,
        model: nn.Module,
        losses: Callable[[Any, torch.Generator], Losses],
        batches: Callable[[int, int], Iterator[B]],
        config: TrainingConfig,
        course: Progress,
        folder: RunFolder | None,
        is_new: Callable[[str], bool],
        origins: Callable[[B], Sequence[object]],
        process: distributed.Process,
        after_step: Callable[[], None],
        finished: Callable[[int], bool] | None,
        count: Callable[[B], float] | None,
        whole: "Whole[B] | None",
        stage: Callable[[B], Hashable],
    ) -> None:
        self.model, self.losses = model.to(process.device).train(), losses
        self.batches, self.config, self.folder = batches, config, folder
        self.course, self.kept = course, list[Moment]()
        self.origins, self.process = origins, process
        self.after_step, self.finished, self.count = after_step, finished, count
        self.whole, self.stage = whole, stage
        self.precision = distributed.from_first(resolve(config.precision, process.device))
        self.open = ExitStack()
        self.open.enter_context(recomputing(model, config.recompute))
        self.strategy: OneProcess = strategy_of(model, config, process.device, self.precision)
        self.optimizer = build_optimizer(model, config.optim, is_new)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        seed_all(mix(config.seed, process.rank))
        self.generator = seeded_generator(mix(config.seed, 0), process.device)  # the same in all processes
        self.window, self.samples = Window(), SampleCounts()
        self.skipped = self.bad_in_a_row = 0
        self.log: RunLog | None = None
        self.notes: list[str] = []

    def prepare(self, resume: bool) -> int:
        """Check the folder, load the checkpoint to continue from, and return the first step."""
        if self.folder is None:
            return 0
        if not resume:
            self.folder.begin()
            return 0
        state, self.notes = self.folder.resume(self.model, self.optimizer, self.generator)
        if state is None:
            return 0
        self.precision = state.precision
        self.samples.resume(state.samples)
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
        self.open.close()
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
            return self._steps(start, feed, stop)

    def _steps(self, start: int, feed: Feed[B], stop: StopRequest) -> TrainResult:
        assert self.log is not None
        config, course, began = self.config, self.course, time.perf_counter()
        prepare_process()
        last: Mapping[str, Any] = {}
        saved = start  # nothing to save before the first step
        self.window = Window()
        for step in count(start):
            if course.over(step):
                break
            rate = set_rate(self.optimizer, config.optim, step, course)
            micro = feed.fetch(stop)
            if micro is None and self.process.world > 1:  # the others wait in a step that will not be
                if self.folder is not None:
                    self.folder.close()
                raise Interrupted(
                    f"stopped while waiting for data; {saved_of(self.folder and self.folder.path)}"
                )
            self.log.records(step + 1, micro or ())
            stopping = micro is None or self._step(step, micro, stop)
            done = step if micro is None else step + 1
            if done > step:
                self.log.advance()
            over = course.over(done)
            if self.window.steps and (done % config.log_every == 0 or over or stopping):
                self.window.samples = sum(distributed.collect(self.window.samples))
                last = self.log.step(done, self.window, rate, course.at(done).share, self.samples.totals())
                self.window = Window()
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
        tensors, samples = (self.model, self.optimizer, self.generator), self.samples.totals()
        folder.save(done, self.precision, self.config.keep, *tensors, samples)

    def _result(self, step: int, began: float, last: Mapping[str, Any]) -> TrainResult:
        changes = self.folder.changes if self.folder else ()
        return TrainResult(step, self.skipped, time.perf_counter() - began, last, changes)

    def _enough(self, done: int) -> bool:
        """Whether the run may end before its last step."""
        return self.finished is not None and distributed.from_first(self.finished(done))

    def _step(self, step: int, micro: Sequence[B], stop: StopRequest) -> bool:
        """One optimiser step, skipped if the loss is NaN or infinite; whether to stop afterwards."""
        self.optimizer.zero_grad(set_to_none=True)
        results: list[Losses] = []
        factors, stage = self._factors(micro), self.stage(micro[0])
        for index, (part, factor) in enumerate(zip(self._parts(micro), factors, strict=True)):
            with self.strategy.part(stage, index + 1 == len(micro)) as module:
                with autocast(self.precision, self.process.device):
                    result: Losses = module(partial(self.losses, part, self.generator))
                with distributed.collective("the backward pass, in which gradients are averaged"):
                    (result.total * factor / len(micro)).backward()
            results.append(result)
        self.strategy.done()
        norm = whole_tensor(nn.utils.clip_grad_norm_(self.parameters, self.config.optim.clip or float("inf")))
        total = torch.stack([result.total.detach() for result in results]).sum()
        bad = not bool(torch.isfinite(total + norm))
        failed = self.folder is not None and self.folder.failed
        flags = distributed.largest(
            torch.tensor([bad, stop.received, failed], dtype=torch.int32, device=total.device)
        )
        bad, stopping, failed = (bool(flag) for flag in flags.tolist())
        if self.folder is not None and failed:
            self.folder.settle()
        self.samples.add(micro, trained=not bad)
        if bad:
            self._skip(step, micro, results, norm)
        else:
            with autocast(self.precision, self.process.device):  # Muon's products, too
                self.optimizer.step()
            self.after_step()
            self.bad_in_a_row = 0
            self._note(micro, results, factors, norm)
        return stopping

    def _parts(self, micro: Sequence[B]) -> Sequence[Any]:
        """What the losses are to take."""
        batches = [batch.to(self.process.device) for batch in micro]
        if self.whole is None:
            return batches
        with autocast(self.precision, self.process.device):
            return self.whole(batches, self.generator, self.strategy.run)

    def _factors(self, micro: Sequence[B]) -> Sequence[Tensor | float]:
        """What each batch counts for, 1 in the mean over those of the step."""
        if self.count is None:
            return [1.0] * len(micro)
        return balanced([self.count(batch) for batch in micro], self.process.device)

    def _note(
        self,
        micro: Sequence[B],
        results: Sequence[Losses],
        factors: Sequence[Tensor | float],
        norm: Tensor,
    ) -> None:
        for result, factor in zip(results, factors, strict=True):
            self.window.add({"loss": result.total}, factor)
            self.window.add({f"losses/{name}": value for name, value in result.parts.items()}, factor)
            self.window.add({f"metrics/{name}": value for name, value in result.metrics.items()}, factor)
        self.window.add({"grad_norm": norm})
        self.window.samples += sum(len(self.origins(batch)) for batch in micro)
        self.window.steps += 1

    def _skip(self, step: int, micro: Sequence[B], results: Sequence[Losses], norm: Tensor) -> None:
        """Leave the model as it is, log the batch, and stop the run after too many in a row."""
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        self.bad_in_a_row += 1
        keys = [str(origin) for batch in micro for origin in self.origins(batch)]
        cause, shown = why_skipped(results, norm), shown_keys(keys)
        message = f"Step {step + 1} skipped: {cause}; its batch: {shown or 'of unknown origin'}"
        assert self.log is not None
        self.log.event(step + 1, "skipped_step", message, keys=keys)
        if self.bad_in_a_row >= self.config.max_bad_steps:
            where = f"; all keys are in {self.folder.path / LOG_FILE}" if self.folder else ""
            raise UserError(
                f"{self.bad_in_a_row} steps in a row had a NaN or infinite loss, the last was step "
                f"{step + 1} ({cause}) on {shown or 'a batch of unknown origin'}{where}: lower "
                "training.optim.lr, or look at these records"
            )
