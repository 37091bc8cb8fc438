"""The losses of a pre-training step, shared by processes and, with accumulation, taken in several batches."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from xfm.config.gradients import MimTarget
from xfm.config.training import LossConfig
from xfm.data.schema import Batch, TensorFields
from xfm.modeling.gradients import GradientPolicy
from xfm.modeling.xfm import XFM
from xfm.objectives.cached import contrasted_vectors, keep_contrast
from xfm.objectives.losses import Losses
from xfm.objectives.pair_memory import PairMemory
from xfm.objectives.step import pretraining_losses
from xfm.objectives.vectors import Vectors
from xfm.objectives.whole import WholeStep, wholes_of
from xfm.training.curriculum import CurriculumData
from xfm.training.randomness import DeviceRandom
from xfm.training.rows import ProcessPeers
from xfm.training.sharded import whole as whole_tensor

Run = Callable[[Callable[[], Any]], Any]
"""Computes something with the model, without gradients."""


@dataclass(frozen=True)
class StepPart(TensorFields):
    """A batch of a step, or one source of it, and what it needs to know of the whole.

    Attributes:
        batch: of this process.
        whole: the step.
        random: state of the processor's and the device's random numbers at the batch's first encoding; empty
            where it is encoded once.
    """

    batch: Batch
    whole: WholeStep
    random: tuple[DeviceRandom, ...] = ()


class PretrainingStep:
    """The losses of the steps of a run.

    Args:
        model: the model.
        policies: where gradients go, in each stretch of the run.
        target: what MIM predicts.
        data: knows the stretch of the run that a batch belongs to.
        by_source: whether the sources of a batch are parts of their own.
    """

    def __init__(
        self,
        model: XFM,
        policies: Sequence[GradientPolicy],
        target: MimTarget,
        data: CurriculumData,
        by_source: bool = False,
    ) -> None:
        self.model, self.policies, self.target, self.data = model, policies, target, data
        self.by_source = by_source
        self.peers = ProcessPeers()
        self.memory: PairMemory | None = None

    def stage(self, batch: Batch) -> int:
        """Steps of one stretch of the run use the same parameters."""
        return self.data.phase(batch.step)

    def whole(self, batches: Sequence[Batch], generator: torch.Generator, run: Run) -> list[list[StepPart]]:
        """The parts of each batch of a step, whose losses add up.

        With several batches their contrast is computed here, over all of them.

        Args:
            batches: of the step, on the device.
            generator: draws the hard negatives.
            run: how something is computed with the model.
        """
        for batch in batches:
            if any(stretch.inherit_words for stretch in self.data.begun(batch.step)):
                self.model.inherit_words()
        self.model.clamp_temperature()
        wholes = wholes_of(batches, self.peers)
        parts = [self._parts(batch) for batch in batches]
        if len(batches) == 1:
            return [[StepPart(part, wholes[0]) for part in parts[0]]]
        first = [[self._encoded(part, run) for part in several] for several in parts]
        vectors = [{name: one for _, found in of for name, one in found.items()} for of in first]
        temperature = whole_tensor(self.model.temperature).detach().clone().requires_grad_()
        weights, _ = self._learned(batches[0])
        kept = keep_contrast(batches, vectors, temperature, weights, generator, wholes)
        return [
            [StepPart(part, whole, random) for part, (random, _) in zip(several, of, strict=True)]
            for several, whole, of in zip(parts, kept, first, strict=True)
        ]

    def _encoded(self, part: Batch, run: Run) -> tuple[tuple[DeviceRandom, ...], dict[str, Vectors]]:
        """The random numbers before a part is first encoded, and what contrast compares of it."""
        if part.pair is None and part.region is None:
            return (), {}
        weights, policy = self._learned(part)
        random = tuple(map(DeviceRandom.of, {torch.device("cpu"), self.model.device}))
        return random, run(lambda: contrasted_vectors(self.model, part, policy, weights))

    def _parts(self, batch: Batch) -> list[Batch]:
        """A batch, or every source of it that something is learned from."""
        weights, _ = self._learned(batch)
        passed_over = {"text": not weights.mlm, "image": not weights.mim}
        found = batch.by_source.items() if self.by_source else ()
        return [part for name, part in found if not passed_over.get(name)] or [batch]

    def __call__(self, part: StepPart, generator: torch.Generator) -> Losses:
        """What a part adds to the losses of its step."""
        for one in part.random:
            one.restore()
        weights, policy = self._learned(part.batch)
        whole = replace(part.whole, memory=self._memory_of(weights.negative_memory))
        return pretraining_losses(self.model, part.batch, policy, weights, generator, whole, self.target)

    def _memory_of(self, size: int) -> PairMemory | None:
        """The memory of a stretch that asks for so many pairs."""
        if self.memory is None or self.memory.size != size:
            self.memory = PairMemory(size) if size else None
        return self.memory

    def state(self) -> dict[str, Tensor]:
        """What this process has to know to go on exactly, by name."""
        return {} if self.memory is None else self.memory.state()

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on with what `state` gave."""
        self.memory = PairMemory.of(state, self.model.device) if state else None

    def _learned(self, batch: Batch) -> tuple[LossConfig, GradientPolicy]:
        """What a batch's losses weigh, and where their gradients go."""
        return self.data.stretch(batch.step).weights, self.policies[self.stage(batch)]
