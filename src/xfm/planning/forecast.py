"""Memory of a process and operations of a step, of a recipe as it is or with other settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xfm.config.gradients import EncoderName
from xfm.config.model import ModelConfig
from xfm.config.phases import Phase
from xfm.config.training import TrainingConfig
from xfm.planning.cost import StepCost
from xfm.planning.sizes import StepSizes, sizes_of
from xfm.planning.states import HeldStates, ModelParts, held_states, learning
from xfm.planning.step import StepModel

BACKWARD, STEPPING = "as the backward pass begins", "in the optimiser's step"
COMPARING = "as contrast compares the parts of a step"


@dataclass(frozen=True)
class MemoryForecast:
    """Bytes of a process when it needs the most.

    Attributes:
        parts: what they are for.
        moment: when that is.
    """

    parts: Mapping[str, float]
    moment: str

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.parts.values())

    @property
    def largest(self) -> str:
        """The part that takes most."""
        return max(self.parts, key=lambda name: self.parts[name])


@dataclass(frozen=True)
class StepForecast:
    """A step of a process.

    Attributes:
        memory: of it, in the phase of the run that needs the most.
        flops: operations of a step of this process, the mean over the run.
    """

    memory: MemoryForecast
    flops: float


def memory_of(held: HeldStates, costs: Sequence[StepCost], accumulation: int = 1) -> MemoryForecast:
    """The peak of a step: somewhere in the backward pass, or when the optimiser steps.

    As the backward pass goes on, activations go and gradients come.

    Args:
        held: through the run.
        costs: of a batch, all of it or a source at a time.
        accumulation: batches of a step; their gradients add up, and all of them wait on the device.
    """
    always = {
        "parameters": held.parameters,
        "moments": held.moments,
        "gradients being sent": held.sent,
        "average of the weights": held.average,
        "batch": sum(cost.batch for cost in costs) * accumulation,
        "remembered pairs": sum(cost.remembered for cost in costs),
    }
    gradients = sum(held.gradients.values())
    moments = [(STEPPING, {"gradients": gradients, "the optimiser's step": held.stepping})]
    if accumulation > 1:  # contrast compares the rows of all parts with all rows before any part learns
        contrast = sum(cost.contrast for cost in costs)
        moments.append((COMPARING, {"activations: contrast": contrast * accumulation**2}))
    done = set(held.gradients) if accumulation > 1 else set[EncoderName]()
    for cost in costs:
        for place, one in enumerate(cost.passes):
            left = [kept for later in cost.passes[place:] for kept in later.kept.items()]
            there = {
                "gradients": sum(held.gradients[encoder] for encoder in done),
                **{f"activations: {name}": size for name, size in left},
                "inside the largest layer": one.inside,
                "matrices in bfloat16": held.converted,
                "parameters of others": held.gathered,
            }
            moments.append((f"in the backward pass of {next(iter(one.kept))}" if place else BACKWARD, there))
            if any(one.kept.values()):
                done.add(one.encoder)
    moment, most = max(moments, key=lambda one: sum(one[1].values()))
    return MemoryForecast({name: size for name, size in (always | most).items() if size}, moment)


def step_flops(costs: Sequence[StepCost], accumulation: int = 1) -> float:
    """Operations of a step of several batches; all but a single one are encoded twice."""
    return accumulation * sum(cost.flops + (cost.encoding if accumulation > 1 else 0.0) for cost in costs)


def forecast(
    model: ModelConfig,
    training: TrainingConfig,
    phases: Sequence[Phase],
    world: int,
    parts: ModelParts,
    fused: bool = True,
) -> StepForecast:
    """What a run takes.

    Args:
        model: of the recipe.
        training: likewise; each phase has its own weights of the losses.
        phases: phases of the run.
        world: processes.
        parts: parameters of the model.
        fused: a GPU's way to compute; else a CPU's.

    Raises:
        UserError: an encoder is another library's.
    """
    names = {name for one in phases for name in learning(parts, one, training.mim_target)}
    ever = [name for name in parts.sizes if name in names]
    worst: MemoryForecast | None = None
    flops = start = 0.0
    for one in phases:
        sizes: StepSizes = sizes_of(one.data, one.weights, world)
        step = StepModel(model, training, one.weights, one.negatives, one.gradients, fused)
        costs = [step.cost(part) for part in (sizes.by_source if training.sequential_sources else [sizes])]
        held = held_states(parts, training, learning(parts, one, training.mim_target), ever, world)
        memory = memory_of(held, costs, training.gradient_accumulation_steps)
        worst = memory if worst is None or memory.total > worst.total else worst
        flops += (one.until - start) * step_flops(costs, training.gradient_accumulation_steps)
        start = one.until
    assert worst is not None
    return StepForecast(worst, flops / start)
