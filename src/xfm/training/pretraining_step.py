"""The losses of a pre-training step, of one or several batches and processes; and those of validation."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.data import STREAMS
from xfm.config.model import MimTarget
from xfm.config.recipe import Recipe
from xfm.config.training import LossConfig
from xfm.core.errors import naming
from xfm.data.rng import mix
from xfm.data.schema import Batch, TensorFields
from xfm.models.folder import Preprocessing
from xfm.models.gradients import GradientPolicy
from xfm.models.xfm import XFM
from xfm.objectives.contrast import cache_contrast
from xfm.objectives.global_batch import GlobalBatch, ProcessGroup, global_batches_of
from xfm.objectives.losses import Losses, NoGrad, StepLoss
from xfm.objectives.negatives import NegativeQueue
from xfm.objectives.step import contrasted_vectors, is_needed, pretraining_losses
from xfm.objectives.text_rows import PairEmbeddings
from xfm.training import distributed
from xfm.training.callbacks import Callback, StepOutput
from xfm.training.collectives import DistributedGroup
from xfm.training.curriculum import CurriculumData
from xfm.training.distributed import whole as whole_tensor
from xfm.training.logging import Window
from xfm.training.randomness import return_to_random
from xfm.training.trainer import Trainer


@dataclass(frozen=True)
class StepPart(TensorFields):
    """A batch or one source of it, its step, and what goes back to the random states of its first encoding
    (empty if it is encoded once)."""

    batch: Batch
    global_batch: GlobalBatch
    random: tuple[Callable[[], None], ...] = ()


UPDATES = (("text",), ("region", "image"), ("pair",))
"""Sources of each of the three updates of X-FM's code, in its order."""


class PretrainingStep(StepLoss[Batch]):
    """Losses of the steps of a pre-training, with a gradient policy a phase; its state is that of the
    negative queue. With `sequential_sources` each source of a batch is a part of its own, with
    `three_updates` those of each update are."""

    def __init__(
        self,
        policies: Sequence[GradientPolicy],
        target: MimTarget,
        data: CurriculumData,
        sequential_sources: bool = False,
        three_updates: bool = False,
        start: nn.Module | None = None,
    ) -> None:
        self.policies, self.target, self.data, self.start = policies, target, data, start
        self.sequential_sources, self.three_updates = sequential_sources, three_updates
        self.peers = DistributedGroup() if distributed.world() > 1 else ProcessGroup()
        self.memory: NegativeQueue | None = None

    def stage(self, batch: Batch) -> int | None:
        """Steps of one phase of the run use the same parameters; each of three updates others."""
        return None if self.three_updates else self.data.phase_number(batch.step)

    def split(
        self, model: nn.Module, batches: Sequence[Batch], generator: torch.Generator, no_grad: NoGrad
    ) -> list[list[StepPart]]:
        """The parts of each batch of a step; of several batches their contrast is computed here, over all."""
        assert isinstance(model, XFM)
        for batch in batches:
            if any(phase.init_fusion_embeddings_from_language for phase in self.data.begun(batch.step)):
                model.init_fusion_embeddings_from_language()
        model.clamp_temperature()
        global_batches = global_batches_of(batches, self.peers, self.data.phase(batches[0].step).negatives)
        parts = [self._parts(batch) for batch in batches]
        if len(batches) == 1:
            return [[StepPart(part, global_batches[0]) for part in parts[0]]]
        first = [[self._encoded(model.device, part, no_grad) for part in several] for several in parts]
        vectors = [{name: one for _, found in of for name, one in found.items()} for of in first]
        temperature = whole_tensor(model.temperature).detach().clone().requires_grad_()
        weights, _ = self._learned(batches[0])
        kept = cache_contrast(batches, vectors, temperature, weights, generator, global_batches)
        return [
            [StepPart(part, global_batch, random) for part, (random, _) in zip(several, of, strict=True)]
            for several, global_batch, of in zip(parts, kept, first, strict=True)
        ]

    def _encoded(
        self, device: torch.device, part: Batch, no_grad: NoGrad
    ) -> tuple[tuple[Callable[[], None], ...], dict[str, PairEmbeddings]]:
        if part.pair is None and part.region is None:
            return (), {}
        weights, policy = self._learned(part)
        random = tuple(map(return_to_random, {torch.device("cpu"), device}))
        return random, no_grad(contrasted_vectors, part, policy, weights)

    def _parts(self, batch: Batch) -> list[Batch]:
        weights, _ = self._learned(batch)
        names = [name for name in STREAMS if getattr(batch, name) is not None and is_needed(name, weights)]
        parts = UPDATES if self.three_updates else [(name,) for name in names if self.sequential_sources]
        given = [[name for name in part if name in names] for part in parts]
        return [batch.only(part) for part in given if part] or [batch]

    def __call__(self, model: nn.Module, part: StepPart, generator: torch.Generator) -> Losses:
        """Losses of a part of the step."""
        assert isinstance(model, XFM)
        for go_back in part.random:
            go_back()
        size = part.global_batch.negatives.queue_size
        if self.memory is None or self.memory.size != size:
            self.memory = NegativeQueue(size) if size else None
        global_batch = replace(part.global_batch, queue=self.memory)
        weights, policy = self._learned(part.batch)
        mim = self.target, self.start
        return pretraining_losses(model, part.batch, policy, weights, generator, global_batch, *mim)

    def state_dict(self) -> dict[str, Tensor]:
        """What this process has to know to go on exactly, by name: copies."""
        return {} if self.memory is None else self.memory.state()

    def load_state_dict(self, state_dict: Mapping[str, Tensor]) -> None:
        """Go on with what `state_dict` gave."""
        self.memory = NegativeQueue.of(state_dict) if state_dict else None

    def _learned(self, batch: Batch) -> tuple[LossConfig, GradientPolicy]:
        return self.data.phase(batch.step).weights, self.policies[self.data.phase_number(batch.step)]


_SEED = 0x76616C  # of its own, so that no batch is drawn as one of the training is


class Validation(Callback):
    """Logs losses on `data.validation` every `validate_every` steps and at the end, with the weights of the
    last phase. Batches and negatives follow from the seed alone."""

    def __init__(
        self,
        recipe: Recipe,
        process: distributed.Process,
        preprocessing: Preprocessing,
        start: nn.Module | None = None,
    ) -> None:
        self.steps, self.seed = recipe.training.validate_steps, mix(recipe.training.seed, _SEED) >> 2
        self.device = process.device
        policy = GradientPolicy.of(recipe.training.gradients)  # nothing is learned of it
        with naming("data.validation"):
            self.data = CurriculumData(recipe.validating(self.seed), process, preprocessing)
        self.loss = PretrainingStep([policy], recipe.training.mim_target, self.data, start=start)

    def on_step(self, trainer: Trainer[Any], output: StepOutput) -> None:
        """Look when it is time to, with the weights and with their average."""
        if trainer.step % trainer.config.validate_every and not trainer.ended:
            return
        losses, average = trainer.validate(self.look)
        kinds = {"losses": losses} | ({} if average is None else {"average": average})
        also = "" if average is None else f", of the average of the weights {average['loss']:.4g}"
        message = f"Validation after step {trainer.step}: loss {losses['loss']:.4g}{also}"
        trainer.event(trainer.step, "validation", message, **kinds)

    def look(self, model: nn.Module, no_grad: NoGrad) -> dict[str, float]:
        """`loss` and the losses by name, means over batches and processes; see `Trainer.validate`."""
        window = Window()
        for number, batch in enumerate(self.data.batches(0, self.steps)):
            generator = torch.Generator(self.device).manual_seed(mix(self.seed, number))
            ((part,),) = self.loss.split(model, [batch], generator, no_grad)
            found = no_grad(self.loss, part, generator)
            window.add({"loss": found.total, **found.terms})
        return window.means()
