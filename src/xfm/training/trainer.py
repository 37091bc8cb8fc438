"""The trainer of pre-training and of every fine-tuning."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, nullcontext
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

import torch
from torch import Tensor, nn

from xfm.config.training import TrainingConfig
from xfm.core.errors import PeerReportedError, UserError
from xfm.core.files import writing
from xfm.data.rng import mix
from xfm.data.schema import TensorFields
from xfm.models.precision import autocast, resolve
from xfm.objectives.losses import Losses, NoGrad, StepLoss
from xfm.training import distributed
from xfm.training.activation_checkpointing import activation_checkpointing
from xfm.training.atomic_folder import saved_before
from xfm.training.callbacks import Callback, SampleCounts, StepOutput
from xfm.training.checkpoint import AVERAGE, load_checkpoint, random_states, snapshot
from xfm.training.clock import ENDLESS, SCHEDULE, ClockState, TrainingClock, read_schedule
from xfm.training.collectives import balanced
from xfm.training.cpu_runtime import prepare_process
from xfm.training.distributed import whole
from xfm.training.failures import Interrupted, StalledError, StopRequest, explaining_failures
from xfm.training.optim import EMA, build_optimizer, set_lr
from xfm.training.randomness import random_state, restore_generator, restore_random_state, seed_all
from xfm.training.run_folder import LOG_FILE, RunFolder, saved_of
from xfm.training.strategy import strategy_of

if TYPE_CHECKING:
    from torch.distributed.checkpoint.stateful import Stateful

B = TypeVar("B", bound=TensorFields)
SHOWN = 5
"""Samples that a message names."""
ValidationScores = Callable[[nn.Module, NoGrad], Mapping[str, float]]


class Trainer(Generic[B]):
    """Trains a model in place. Everything random follows from `config.seed` and the batches; a resumed run
    computes the same numbers (on CPU bit for bit). All processes of the group must build one.

    `loss` is a `StepLoss`, or a function of the model, a batch on the device and a generator there.
    `batches(start, stop)` must give the same batch for the same index; a step takes
    `config.gradient_accumulation_steps` of them. Parameters of which `is_new(name)` learn at
    `new_lr_multiplier` times the rate. `stateful` is what else checkpoints keep, by name, as copies of each
    process's own tensors; `callbacks` are called in their order, `Checkpoints` last.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: StepLoss[B] | Callable[[Any, Any, torch.Generator], Losses],
        batches: Callable[[int, int], Iterator[B]],
        config: TrainingConfig,
        folder: RunFolder | None = None,
        *,
        clock: TrainingClock | None = None,
        is_new: Callable[[str], bool] = lambda name: False,
        stateful: "Mapping[str, Stateful]" = MappingProxyType({}),
        callbacks: Sequence[Callback] = (),
        device: str = "auto",
    ) -> None:
        self.device = distributed.pick_device(device)
        if self.device.type == "cuda":
            torch.cuda.set_device(self.device)
        self.model = model.to(self.device).train()
        self.loss = loss if isinstance(loss, StepLoss) else StepLoss(loss)
        self.batches, self.config, self.folder = batches, config, folder
        self.clock, self.stateful, self.callbacks = clock or TrainingClock.of(config), stateful, callbacks
        self.precision = distributed.from_first(resolve(config.precision, self.device))
        self._stack = ExitStack()
        self._stack.enter_context(activation_checkpointing(model, config.activation_checkpointing))
        self.strategy = strategy_of(model, config, self.device, self.precision)
        self.optimizer = build_optimizer(model, config.optim, is_new)
        self._parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.ema = EMA(model, config.ema) if config.ema else None
        seed_all(mix(config.seed, distributed.rank()))
        self.generator = torch.Generator(self.device).manual_seed(mix(config.seed, 0))
        self.step = self.skipped = self._bad_in_a_row = 0
        self.samples, self.stop = SampleCounts(), StopRequest()
        self.stopping = self.enough = False
        self.kept: list[ClockState] = []
        self.seconds, self.last = 0.0, dict[str, Any]()

    @property
    def ended(self) -> bool:
        """Whether no step is left: by the clock, or because a callback asked for the end."""
        return self.enough or self.clock.at(self.step).share >= 1

    def fit(self, resume: bool = False) -> Self:
        """Take the steps that are left, of the folder's newest whole checkpoint if `resume`. UserError:
        nothing to resume, other settings or data, a full disk, short memory, a lost loader or process, or
        `config.max_bad_steps` NaN losses in a row. Interrupted: SIGINT or SIGTERM came and the step was
        saved."""
        path, accumulation = self.folder and self.folder.path, self.config.gradient_accumulation_steps
        with (
            explaining_failures(lambda: saved_of(path)),
            self._stack,
            nullcontext() if path is None else writing(path, lambda: saved_before(path)),
            ExitStack() as loading,
        ):
            for callback in reversed(self.callbacks):
                self._stack.callback(callback.close)
            notes = self.load() if resume else []
            if self.folder is not None and not resume:
                self.folder.begin()
            for callback in self.callbacks:
                callback.on_begin(self)
            for note in notes:
                self.event(self.step, "resumed", note)
            loading.enter_context(self.stop)
            self.clock.begin(self.step, self.kept)
            planned = self.clock.steps or ENDLESS
            stream = self.batches(self.step * accumulation, planned * accumulation)
            loading.callback(getattr(stream, "close", lambda: None))
            prepare_process()
            began = time.perf_counter()
            while not self.ended and not self.stopping:
                batches = self._fetch(stream)
                if batches is None:
                    self.stopping = True
                    break
                output = self.train_step(batches)
                self.clock.at(self.step)  # decided before callbacks take their time
                for callback in self.callbacks:
                    callback.on_step(self, output)
            for callback in self.callbacks:
                callback.on_end(self)
            self.seconds = time.perf_counter() - began
            # Asked for in the last step, or while it was looked at and saved: more may follow in the command.
            # Of several processes each has its own answer here, and all must go the same way.
            if self.stopping or (distributed.world() == 1 and self.stop.received):
                said = f", everything is saved in {path}; run the same command with --resume to continue"
                raise Interrupted(f"stopped after step {self.step}{said if path else ''}") from (
                    PeerReportedError() if distributed.rank() else None
                )
        return self

    def train_step(self, batches: Sequence[B]) -> StepOutput:
        """One optimiser update on this process's accumulated batches, or with `three_updates` one for each
        part of the batch; left out if a loss or gradient is NaN or infinite. UserError: too many in a row."""
        config, loss = self.config, self.loss
        lr = set_lr(self.optimizer, config.optim, self.step, self.clock)
        self.optimizer.zero_grad(set_to_none=True)
        counts = [count for batch in batches if (count := loss.count(batch)) is not None]
        scales = balanced(counts, self.device) if counts else [1.0] * len(batches)
        stage = loss.stage(batches[0])
        with autocast(self.precision, self.device):
            on_device = [batch.to(self.device) for batch in batches]
            parts = loss.split(self.model, on_device, self.generator, self.strategy.no_grad)
        left, results, updates = sum(map(len, parts)), list[Losses](), list[tuple[Tensor, bool]]()
        for of_batch, scale in zip(parts, scales, strict=True):
            found: list[Losses] = []
            for part in of_batch:
                left -= 1
                with self.strategy.part(stage, last=config.three_updates or not left) as module:
                    with autocast(self.precision, self.device):
                        result: Losses = module(loss, part, self.generator)
                    with distributed.collective("the backward pass, in which gradients are averaged"):
                        (result.total * scale / len(batches)).backward()
                found.append(result)
                if config.three_updates:
                    updates.append(self._update([result]))
            results.append(Losses.add(found))
        updates = updates or [self._update(results)]
        norm, bad = torch.stack([norm for norm, _ in updates]).amax(), any(bad for _, bad in updates)
        self.samples.add(batches, trained=not bad)
        self.step += 1
        if bad:
            self._skip(batches, results, norm)
        else:
            self._bad_in_a_row = 0
            if self.ema is not None:
                self.ema.update()
        samples = sum(len(loss.origins(batch)) for batch in batches)
        return StepOutput(batches, results, scales, norm, lr, samples, bad)

    def _update(self, losses: Sequence[Losses]) -> tuple[Tensor, bool]:
        """An optimiser update by the gradients of these losses: their norm, and whether it was left out."""
        self.strategy.done()
        norm = whole(nn.utils.clip_grad_norm_(self._parameters, self.config.optim.clip or float("inf")))
        total = torch.stack([one.total.detach() for one in losses]).sum()
        bad, stops = self._ends(total + norm)
        self.stopping = self.stopping or stops
        if not bad:
            with autocast(self.precision, self.device):  # Muon's products, too
                self.optimizer.step()
        if self.config.three_updates:
            self.optimizer.zero_grad(set_to_none=True)
        return norm, bad

    def validate(self, look: ValidationScores) -> tuple[Mapping[str, float], Mapping[str, float] | None]:
        """Losses by `look(model, no_grad)` with the weights, and with their average if one is kept. The model
        is in evaluation mode; random states must stay."""
        self.model.eval()
        losses, of_average = self._look(look), None
        if self.ema is not None:
            with self.ema.applied():
                of_average = self._look(look)
        self.model.train()
        return losses, of_average

    def save(self) -> None:
        """Write a checkpoint; all processes must. UserError (on every process): the disk was full."""
        assert self.folder is not None
        own = random_state(self.generator)
        for name, part in self.stateful.items():
            own |= {f"{name}|{key}": tensor for key, tensor in part.state_dict().items()}
        states = distributed.gathered_by_first(own)
        tensors = snapshot(self.model, self.optimizer, distributed.rank() == 0, self.ema)
        samples = self.samples.totals()
        self.folder.save(self.step, self.precision, tensors, states, samples, self.config.keep)

    def load(self) -> list[str]:
        """Go on from the newest whole checkpoint, random states included; sentences about it."""
        if self.folder is None:
            return []
        path, notes = self.folder.newest()
        if path is None:
            return notes
        state, own = load_checkpoint(path, self.model, self.optimizer, distributed.rank())
        if self.ema is not None:
            self.ema.load(path / AVERAGE)
        if own is not None:
            restore_random_state(own, self.generator)
            for name, part in self.stateful.items():
                found = {key: tensor for key, tensor in own.items() if key.startswith(f"{name}|")}
                part.load_state_dict({k.partition("|")[2]: t.to(self.device) for k, t in found.items()})
        elif (first := random_states(path, 0)) is not None:
            restore_generator(first, self.generator)
        self.step, self.precision = state.step, state.precision
        self.samples.resume(state.samples)
        before = self.folder.path / SCHEDULE
        self.kept = distributed.on_first(lambda: read_schedule(before)[: state.step + 1])
        return notes

    def event(self, step: int, event: str, message: str, **details: Any) -> None:
        """Tell all callbacks of something out of the ordinary."""
        for callback in self.callbacks:
            callback.on_event(step, event, message, details)

    def _fetch(self, stream: Iterator[B]) -> list[B] | None:
        """Batches of the next step; None if the loader ended or hangs while the run is being stopped. The
        random state stays: torch's DataLoader draws a seed when it starts, which a resumed run does
        elsewhere."""
        try:
            with torch.random.fork_rng(devices=[]), self.stop.waiting():
                return [next(stream) for _ in range(self.config.gradient_accumulation_steps)]
        except StalledError:
            pass
        except (RuntimeError, UserError):
            if not self.stop.received:  # the signal may have reached and ended the loader processes, too
                raise
        if distributed.world() > 1:
            said = saved_of(self.folder and self.folder.path)
            raise Interrupted(f"stopped while waiting for data; {said}")
        return None

    def _ends(self, sums: Tensor) -> list[bool]:
        """Whether the step is bad, and the run stops, in any process. The one wait for the device of a step:
        a bad step must change nothing."""
        finite = torch.isfinite(sums)
        flags = torch.stack([~finite, finite.new_full((), self.stop.received)]).int()  # filled, not copied
        return [bool(flag) for flag in distributed.largest(flags).tolist()]

    def _skip(self, batches: Sequence[B], results: Sequence[Losses], norm: Tensor) -> None:
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        self._bad_in_a_row += 1
        keys = [str(origin) for batch in batches for origin in self.loss.origins(batch)]
        values = {name: value.item() for result in results for name, value in result.terms.items()}
        broken = [f"{name} {value}" for name, value in values.items() if value - value != 0]
        cause = ", ".join(broken) or f"gradient norm {norm.item()}"
        more = f" and {len(keys) - SHOWN} more" if len(keys) > SHOWN else ""
        shown = ", ".join(keys[:SHOWN]) + more if keys else "a batch of unknown origin"
        what = "An update of step" if self.config.three_updates else "Step"
        message = f"{what} {self.step} skipped: {cause}; its batch: {shown}"
        self.event(self.step, "skipped_step", message, keys=keys)
        if self._bad_in_a_row >= self.config.max_bad_steps:
            where = f"; all keys are in {self.folder.path / LOG_FILE}" if self.folder else ""
            raise UserError(
                f"{self._bad_in_a_row} steps in a row had a NaN or infinite loss, the last was step "
                f"{self.step} ({cause}) on {shown}{where}: lower "
                "training.optim.lr, or look at these records"
            )

    def _look(self, look: ValidationScores) -> Mapping[str, float]:
        with autocast(self.precision, self.device):
            found = look(self.model, self.strategy.no_grad)
        self.strategy.refresh()
        return found
