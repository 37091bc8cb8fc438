"""What happens between the steps of a training: the protocol, checkpoints, early end, sample counts."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from xfm.data.schema import Batch, TensorFields
from xfm.objectives.losses import Losses
from xfm.training import distributed


@dataclass(frozen=True)
class StepOutput:
    """Result of a step: this process's batches, their losses and scales (1 in the mean over all batches of
    the step), the norm of the gradient before clipping, and whether the step was skipped for NaN or
    infinity."""

    batches: Sequence[Any]
    losses: Sequence[Losses]
    scales: Sequence[Tensor | float]
    grad_norm: Tensor
    lr: float
    samples: int
    skipped: bool


class Callback:
    """Called by a `Trainer` as it goes; each method does nothing unless a subclass says otherwise."""

    def on_begin(self, trainer: Any) -> None:
        """Before the first step, when a run that goes on is loaded."""

    def on_step(self, trainer: Any, output: StepOutput) -> None:
        """After every step, `trainer.step` of which are done; it may ask for the end by `trainer.enough`."""

    def on_event(self, step: int, event: str, message: str, details: Mapping[str, Any]) -> None:
        """When something is out of the ordinary, or was measured."""

    def on_end(self, trainer: Any) -> None:
        """After the last step, or the one in which the run is stopped."""

    def close(self) -> None:
        """Last, whatever has happened."""


class Checkpoints(Callback):
    """Saves every `config.save_every` steps and at the end; it stands last among the callbacks."""

    def __init__(self) -> None:
        self._saved = 0

    def on_begin(self, trainer: Any) -> None:
        """What is loaded is saved already, and a model that has not moved need not be."""
        self._saved = trainer.step

    def on_step(self, trainer: Any, output: StepOutput) -> None:
        """Save when it is time to."""
        if trainer.config.save_every and trainer.step % trainer.config.save_every == 0:
            self.on_end(trainer)

    def on_end(self, trainer: Any) -> None:
        """Save the last step, if it is not saved yet."""
        if trainer.folder is not None and trainer.step != self._saved:
            trainer.save()
            self._saved = trainer.step


class EarlyStopping(Callback):
    """Ends a training early, when the first process's `finished(step, enough)` says so. It is asked after
    every step but the last and sees the average of the weights if one is kept; it must leave mode and random
    states as they are."""

    def __init__(self, finished: Callable[[int], bool]) -> None:
        self.finished = finished

    def on_step(self, trainer: Any, output: StepOutput) -> None:
        """Ask."""
        if not trainer.ended:
            with trainer.ema.applied() if trainer.ema is not None else nullcontext():
                enough = self.finished(trainer.step)
            trainer.enough = distributed.from_first(enough)


TRAINED, UNTRAINED = "trained", "untrained"


class SampleCounts:
    """Records by stream: `read` is the sum of `trained`, `skipped` (bad), `passed_over` (pictures without
    regions) and `untrained` (of skipped steps). What loaders read ahead counts when its step comes; a resumed
    run goes on from its checkpoint's counts."""

    def __init__(self) -> None:
        self._before, self._own = Counter[tuple[str, str]](), Counter[tuple[str, str]]()

    def resume(self, totals: Mapping[str, Mapping[str, int]]) -> None:
        """Go on from what `totals` gave, of all processes."""
        self._before = Counter({(name, what): n for name, own in totals.items() for what, n in own.items()})

    def add(self, batches: Sequence[TensorFields], trained: bool) -> None:
        """Count this process's batches of a step; those of fine-tunings have no streams."""
        for batch in (batch for batch in batches if isinstance(batch, Batch)):
            for reads in batch.reads:
                for what in ("read", "skipped", "passed_over"):
                    self._own[reads.kind, what] += getattr(reads, what)
                part: Any = getattr(batch, reads.kind)
                rows = () if part is None else part.tokens.ids if reads.kind == "text" else part.pixels
                self._own[reads.kind, TRAINED if trained else UNTRAINED] += len(rows)

    def totals(self) -> dict[str, dict[str, int]]:
        """The counts by stream, of all processes; all of them must ask at the same place."""
        found = sum(distributed.collect(self._own), self._before)
        kinds, names = ("read", TRAINED, "skipped", "passed_over", UNTRAINED), {name for name, _ in found}
        return {name: {what: found[name, what] for what in kinds} for name in sorted(names)}
