"""The plan of a pre-training: memory and operations of a step on every rung of the memory ladder."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xfm.config.data import DataConfig
from xfm.config.model import EncoderName, ModelConfig
from xfm.config.phases import Phase
from xfm.config.planning import Gpu, PlanConfig, gpu_of
from xfm.config.recipe import Recipe
from xfm.config.training import ActivationCheckpointing, Precision, Strategy, TrainingConfig
from xfm.core.errors import UserError
from xfm.training.planning.sizes import StepSizes, sizes_of, smaller
from xfm.training.planning.states import ModelParts, StateBytes, held_states, learning, parts_of
from xfm.training.planning.step import StepCost, StepModel
from xfm.training.pretrain import begin

BACKWARD, STEPPING = "as the backward pass begins", "in the optimiser's step"
COMPARING = "as contrast compares the parts of a step"


@dataclass(frozen=True)
class MemoryForecast:
    """Bytes of a process by purpose at the moment when it needs the most."""

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


def memory_of(held: StateBytes, costs: Sequence[StepCost], accumulation: int = 1) -> MemoryForecast:
    """The peak of a step, in the backward pass (activations go as gradients come) or when the optimiser
    steps; `costs` are of a batch or of its sources, `accumulation` batches wait on the device."""
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


def forecast(
    model: ModelConfig,
    training: TrainingConfig,
    phases: Sequence[Phase],
    world: int,
    parts: ModelParts,
    fused: bool = True,
) -> tuple[MemoryForecast, float]:
    """Memory in the most demanding phase, and mean operations of a step, of a process of a run of `world`;
    UserError if an encoder is another library's."""
    names = {name for one in phases for name in learning(parts, one, training.mim_target)}
    ever = [name for name in parts.sizes if name in names]
    worst: MemoryForecast | None = None
    flops, start, accumulation = 0.0, 0.0, training.gradient_accumulation_steps
    for one in phases:
        sizes: StepSizes = sizes_of(one.data, one.weights, world)
        step = StepModel(model, training, one.weights, one.negatives, one.gradients, fused)
        costs = [step.cost(part) for part in (sizes.by_source if training.sequential_sources else [sizes])]
        held = held_states(parts, training, learning(parts, one, training.mim_target), ever, world)
        memory = memory_of(held, costs, accumulation)
        worst = memory if worst is None or memory.total > worst.total else worst
        again = accumulation > 1  # then all is encoded twice
        operations = sum(cost.flops + (cost.encoding if again else 0.0) for cost in costs)
        flops += (one.until - start) * accumulation * operations
        start = one.until
    assert worst is not None
    return worst, flops / start


PARTS = (2, 4, 8, 16)
"""Into how many parts the ladder cuts a batch."""
HOUR = 3600.0
_WORDS = {
    "strategy": "{}",
    "activation_checkpointing": "checkpointing {}",
    "sequential_sources": "by source",
    "gradient_accumulation_steps": "accumulation {}",
}
"""Settings of the ladder's rungs, in words."""


@dataclass(frozen=True)
class PlanOption:
    """Settings as options of `xfm pretrain` and what a run with them takes; `cost` is None without a price,
    `fits` includes the margin."""

    name: str
    options: tuple[str, ...]
    memory: MemoryForecast
    flops: float
    seconds: float
    hours: float
    cost: float | None
    fits: bool


@dataclass(frozen=True)
class PretrainingPlan:
    """Forecast of a pre-training; the ladder begins with the recipe as it is and saves memory for time.
    `room` are the bytes that may be taken, `steps` is None where the clock decides."""

    recipe: str
    config: PlanConfig
    gpu: Gpu
    room: float
    precision: Precision
    parameters: int
    steps: int | None
    ladder: list[PlanOption]
    notes: list[str]

    @property
    def chosen(self) -> PlanOption | None:
        """The fastest rung that fits; of several the first."""
        return min((rung for rung in self.ladder if rung.fits), key=lambda rung: rung.seconds, default=None)

    def plain(self) -> dict[str, Any]:
        """As JSON; sizes are bytes."""
        chosen = self.chosen
        return {
            "recipe": self.recipe,
            "gpus": self.config.gpus,
            "gpu": self.gpu.name,
            "gpu_memory": self.gpu.bytes,
            "room": self.room,
            "peak_flops": self.gpu.peak(self.precision) * 1e12,
            "share": self.config.share,
            "precision": self.precision.value,
            "parameters": self.parameters,
            "steps": self.steps,
            "take": None if chosen is None else chosen.name,
            "ladder": [
                {
                    **vars(rung),
                    "options": list(rung.options),
                    "memory": rung.memory.total,
                    "moment": rung.memory.moment,
                    "largest": rung.memory.largest,
                    "parts": dict(rung.memory.parts),
                }
                for rung in self.ladder
            ],
            "notes": self.notes,
        }


def plan(recipe: Recipe, config: PlanConfig | None = None) -> PretrainingPlan:
    """Predict memory and time of a pre-training by formulas; nothing is trained and no data read. Time is the
    operations of matrix products at a share of the GPU's peak. UserError: unknown GPU or model, encoders of
    other libraries, or more GPUs than samples."""
    config = config or PlanConfig()
    gpu, recipe, training = gpu_of(config), begin(recipe)[0], recipe.training
    room = gpu.bytes * (1 - config.margin)
    if training.precision is Precision.AUTO:
        training = replace(training, precision=Precision.BF16)
    recipe = replace(recipe, training=training)
    if smaller(recipe.data, 1, config.gpus) is None:
        raise UserError(
            f"a batch of the recipe {recipe.name} has fewer samples than there are GPUs ({config.gpus}): "
            "raise data.*.batch_size, or lower --gpus"
        )
    parts = parts_of(recipe.model)
    ladder, notes = [], _notes(recipe, config)
    for name, options, one in _rungs(recipe, config):
        memory, flops = forecast(one.model, one.training, one.phases(), config.gpus, parts)
        seconds = flops / (gpu.peak(training.precision) * 1e12 * config.share)
        hours = training.minutes / 60 if training.minutes else training.steps * seconds / HOUR
        cost = hours * config.gpus * config.price if config.price else None
        fits = memory.total <= room
        ladder.append(PlanOption(name, options, memory, flops, seconds, hours, cost, fits))
    steps = None if training.minutes else training.steps
    given = training.precision, parts.count(), steps
    return PretrainingPlan(recipe.name, config, gpu, room, *given, ladder, notes)


def _rungs(recipe: Recipe, config: PlanConfig) -> Iterator[tuple[str, tuple[str, ...], Recipe]]:
    given = recipe.training
    strategies = [given.strategy]
    if strategies == [Strategy.DDP] and config.gpus > 1 and not given.optim.muon_lr:
        strategies.append(Strategy.FSDP)
    levels = [*ActivationCheckpointing]
    kept = [
        {"activation_checkpointing": again, "sequential_sources": apart}
        for again in levels[levels.index(given.activation_checkpointing) :]
        for apart in sorted({given.sequential_sources, True})
    ]
    for strategy in strategies:
        settings = [replace(given, strategy=strategy, **changed) for changed in kept]
        for training in settings:
            yield *_told(given, training), replace(recipe, training=training)
        for parts, data in _cuts(recipe, config):
            training = replace(
                settings[-1], gradient_accumulation_steps=given.gradient_accumulation_steps * parts
            )
            sizes = [
                word
                for name, stream in data.streams.items()
                if stream.batch_size
                for word in (f"--data.{name}.batch_size", str(stream.batch_size))
            ]
            name, options = _told(given, training)
            yield name, (*options, *sizes), replace(recipe, training=training, data=data)


def _told(given: TrainingConfig, taken: TrainingConfig) -> tuple[str, tuple[str, ...]]:
    changed = {name: getattr(taken, name) for name in _WORDS if getattr(taken, name) != getattr(given, name)}
    words = ", ".join(_WORDS[name].format(value) for name, value in changed.items())
    options = [(f"--training.{name}", str(value).lower()) for name, value in changed.items()]
    return words or "as it is", tuple(word for option in options for word in option)


def _cuts(recipe: Recipe, config: PlanConfig) -> Iterator[tuple[int, DataConfig]]:
    """Numbers of parts that a batch is cut into, and the data of one; each leaves every process a sample."""
    for parts in PARTS if _may_accumulate(recipe) else ():
        data = smaller(recipe.data, parts, config.gpus)
        if data is None:
            return
        yield parts, data


def _may_accumulate(recipe: Recipe) -> bool:
    """Whether options can cut every batch: phases with sizes of their own would keep them."""
    streams = [getattr(phase, name) for phase in recipe.curriculum for name in recipe.data.streams]
    return not any(stream is not None and stream.batch_size for stream in streams)


def _notes(recipe: Recipe, config: PlanConfig) -> list[str]:
    found = []
    if not _may_accumulate(recipe):
        found.append("phases of the curriculum have batch sizes of their own, which options do not cut")
    if config.gpus > 1 and recipe.training.optim.muon_lr and recipe.training.strategy is Strategy.DDP:
        found.append("fsdp is left out: Muon needs whole matrices (training.optim.muon_lr)")
    for parts, data in _cuts(recipe, config):
        for name, stream in recipe.data.streams.items():
            if (taken := data.streams[name].batch_size * parts) != stream.batch_size:
                accumulation = recipe.training.gradient_accumulation_steps * parts
                lost = f"a step takes {taken} of {stream.batch_size} (data.{name}.batch_size is rounded down)"
                found.append(f"with accumulation {accumulation} {lost}")
    return found
