"""One optimiser step of a training: its forward and backward passes, the update, or why there was none."""

from collections.abc import Callable, Hashable, Sequence
from contextlib import ExitStack
from functools import partial
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from xfm.config.training import TrainingConfig
from xfm.data.rng import mix
from xfm.data.schema import TensorFields
from xfm.errors import UserError
from xfm.modeling.precision import autocast, resolve
from xfm.objectives.losses import Losses
from xfm.training import distributed
from xfm.training.averaging import AverageBeside
from xfm.training.logging import LOG_FILE, RunLog, Window
from xfm.training.optim import build_optimizer
from xfm.training.randomness import seed_all, seeded_generator
from xfm.training.recomputing import recomputing
from xfm.training.result import shown_keys, why_skipped
from xfm.training.run_folder import RunFolder
from xfm.training.samples import SampleCounts
from xfm.training.sharded import whole as whole_tensor
from xfm.training.sharing import balanced
from xfm.training.signals import StopRequest
from xfm.training.strategy import OneProcess, strategy_of

B = TypeVar("B", bound=TensorFields)
Whole = Callable[[Sequence[B], torch.Generator, Callable[[Callable[[], Any]], Any]], Sequence[Sequence[Any]]]
"""See `xfm.training.loop.train`."""


class Stepper(Generic[B]):
    """Takes the steps of a run; `xfm.training.loop.train` says what the arguments mean.

    Attributes:
        model, optimizer, generator: what the steps change.
        average: of the weights, if the configuration keeps one.
        precision: arithmetic of the forward pass, decided.
        strategy: how the processes hold the model.
        window: means since the last logged line.
        samples: what became of the samples.
        skipped: steps that changed nothing, since the run or its continuation began.
    """

    def __init__(
        self,
        model: nn.Module,
        losses: Callable[[Any, torch.Generator], Losses],
        config: TrainingConfig,
        process: distributed.Process,
        folder: RunFolder | None,
        is_new: Callable[[str], bool],
        origins: Callable[[B], Sequence[object]],
        after_step: Callable[[], None],
        count: Callable[[B], float] | None,
        whole: "Whole[B] | None",
        stage: Callable[[B], Hashable],
    ) -> None:
        self.model, self.losses = model.to(process.device).train(), losses
        self.config, self.process, self.folder = config, process, folder
        self.origins, self.after_step, self.count = origins, after_step, count
        self.whole, self.stage = whole, stage
        self.precision = distributed.from_first(resolve(config.precision, process.device))
        self.open = ExitStack()
        self.open.enter_context(recomputing(model, config.recompute))
        self.strategy: OneProcess = strategy_of(model, config, process.device, self.precision)
        self.optimizer = build_optimizer(model, config.optim, is_new)
        self.parameters = [p for group in self.optimizer.param_groups for p in group["params"]]
        self.average = AverageBeside(model, config.ema) if config.ema else None
        seed_all(mix(config.seed, process.rank))
        self.generator = seeded_generator(mix(config.seed, 0), process.device)  # the same in all processes
        self.window, self.samples = Window(), SampleCounts()
        self.skipped = self.bad_in_a_row = 0

    def close(self) -> None:
        """Leave the model as it was built."""
        self.open.close()

    def take(self, step: int, micro: Sequence[B], stop: StopRequest, log: RunLog) -> bool:
        """One optimiser step, skipped if the loss is NaN or infinite; whether to stop afterwards."""
        self.optimizer.zero_grad(set_to_none=True)
        results: list[Losses] = []
        factors, stage = self._factors(micro), self.stage(micro[0])
        for index, (parts, factor) in enumerate(zip(self._parts(micro), factors, strict=True)):
            found: list[Losses] = []
            for number, part in enumerate(parts):
                last = index + 1 == len(micro) and number + 1 == len(parts)
                with self.strategy.part(stage, last) as module:
                    with autocast(self.precision, self.process.device):
                        result: Losses = module(partial(self.losses, part, self.generator))
                    with distributed.collective("the backward pass, in which gradients are averaged"):
                        (result.total * factor / len(micro)).backward()
                found.append(result)
            results.append(Losses.add(found))
        self.strategy.done()
        norm = whole_tensor(nn.utils.clip_grad_norm_(self.parameters, self.config.optim.clip or float("inf")))
        total = torch.stack([result.total.detach() for result in results]).sum()
        bad, stopping, failed = self._ends(total + norm, stop)
        if self.folder is not None and failed:
            self.folder.settle()
        self.samples.add(micro, trained=not bad)
        if bad:
            self._skip(step, micro, results, norm, log)
        else:
            with autocast(self.precision, self.process.device):  # Muon's products, too
                self.optimizer.step()
            if self.average is not None:
                self.average.update()
            self.after_step()
            self.bad_in_a_row = 0
            self._note(micro, results, factors, norm)
        return stopping

    def _ends(self, sums: Tensor, stop: StopRequest) -> list[bool]:
        """Whether the step is bad, the run is to stop, and a checkpoint has failed, in any process.

        The one time in a step that the host waits for the device: a step that is bad must change nothing.
        """
        finite, failed = torch.isfinite(sums), self.folder is not None and self.folder.failed
        own = [finite.new_full((), bool(flag)) for flag in (stop.received, failed)]  # filled, not copied
        flags = torch.stack([~finite, *own]).int()
        return [bool(flag) for flag in distributed.largest(flags).tolist()]

    def _parts(self, micro: Sequence[B]) -> Sequence[Sequence[Any]]:
        """What the losses are to take, of each batch."""
        batches = [batch.to(self.process.device) for batch in micro]
        if self.whole is None:
            return [[batch] for batch in batches]
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

    def _skip(
        self, step: int, micro: Sequence[B], results: Sequence[Losses], norm: Tensor, log: RunLog
    ) -> None:
        """Leave the model as it is, log the batch, and stop the run after too many in a row."""
        self.optimizer.zero_grad(set_to_none=True)
        self.skipped += 1
        self.bad_in_a_row += 1
        keys = [str(origin) for batch in micro for origin in self.origins(batch)]
        cause, shown = why_skipped(results, norm), shown_keys(keys)
        message = f"Step {step + 1} skipped: {cause}; its batch: {shown or 'of unknown origin'}"
        log.event(step + 1, "skipped_step", message, keys=keys)
        if self.bad_in_a_row >= self.config.max_bad_steps:
            where = f"; all keys are in {self.folder.path / LOG_FILE}" if self.folder else ""
            raise UserError(
                f"{self.bad_in_a_row} steps in a row had a NaN or infinite loss, the last was step "
                f"{step + 1} ({cause}) on {shown or 'a batch of unknown origin'}{where}: lower "
                "training.optim.lr, or look at these records"
            )
