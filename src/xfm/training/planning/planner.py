"""The plan of a pre-training: what a process holds, memory and operations of a step, settings that fit."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from xfm.config.data import DataConfig
from xfm.config.model import EncoderName, MimTarget, ModelConfig
from xfm.config.phases import Phase
from xfm.config.plain import to_plain
from xfm.config.planning import Gpu, PlanConfig, gpu_of
from xfm.config.recipe import Recipe
from xfm.config.training import ActivationCheckpointing, Precision, Strategy, TrainingConfig
from xfm.core.errors import UserError
from xfm.models.encoders import units_of
from xfm.models.weights import without_weights
from xfm.models.xfm import XFM
from xfm.training.optim import matrix_names
from xfm.training.planning.step import StepCost, StepModel, sizes_of
from xfm.training.pretrain import begin

BYTES = 4
"""Of a parameter, a gradient and a moment: all are float32."""
MUON_AT_ONCE = 4.0
"""Copies of the matrices of a shape that Muon has at once."""


# ---- what a process holds through a run
@dataclass(frozen=True)
class ModelParts:
    """Number of values by parameter name; names of matrices; the most values among matrices of a shape; names
    of each unit (`models.encoders.units_of`)."""

    sizes: dict[str, int]
    matrices: frozenset[str]
    groups: int
    units: list[list[str]]

    def count(self, names: Iterable[str] | None = None) -> int:
        """How many numbers they are, all without names."""
        return sum(self.sizes.values()) if names is None else sum(self.sizes[name] for name in names)


def parts_of(config: ModelConfig) -> ModelParts:
    """The parameters of a model, of which none gets memory."""
    with without_weights():
        model = XFM(config)
    named = dict(model.named_parameters())
    by_id = {id(parameter): name for name, parameter in named.items()}
    sizes = {name: parameter.numel() for name, parameter in named.items()}
    matrices = frozenset(named.keys() & matrix_names(model))
    shapes = Counter[tuple[int, ...]]()
    for name in matrices:
        shapes[tuple(sorted(named[name].shape))] += sizes[name]
    inside = [[by_id[id(p)] for p in unit.parameters()] for unit in units_of(model)]
    return ModelParts(sizes, matrices, max(shapes.values(), default=0), inside)


def learning(parts: ModelParts, phase: Phase, target: MimTarget) -> list[str]:
    """Names of the parameters that have gradients in a phase of a run."""
    w, data = phase.weights, phase.data
    with_texts = data.pair.batch_size or data.region.batch_size
    boxes = (w.box_l1 or w.box_giou) and data.region.batch_size
    masked = w.mim and (data.image.batch_size or (data.pair.batch_size and data.patch_mask.on_pairs))
    spoken = w.mlm and data.text.batch_size
    used = {
        "vision.mask_vector": masked,
        "vision.": with_texts or masked,
        "language.": with_texts or spoken,
        "fusion.embeddings.words": with_texts and w.imlm,
        "fusion.embeddings.": False,
        "fusion.": with_texts and (w.itm or w.imlm or boxes),
        "fusion_head.": with_texts and w.imlm,
        "language_head.": spoken,
        "itm_head.": with_texts and w.itm,
        "bbox_head.": boxes,
        "pixel_head.": masked and target is MimTarget.PIXELS,
        "": with_texts,  # projections and temperature
    }
    return [name for name in parts.sizes if next(on for start, on in used.items() if name.startswith(start))]


@dataclass(frozen=True)
class StateBytes:
    """Bytes of a process by purpose: what is there always, in the backward pass, and in the optimiser's step;
    and gradients by the encoder with which they come."""

    always: Mapping[str, float]
    backward: Mapping[str, float]
    stepping: float
    gradients: Mapping[EncoderName, float]


def held_states(
    parts: ModelParts, training: TrainingConfig, now: list[str], ever: list[str], world: int
) -> StateBytes:
    """Bytes that a process holds in a phase: `now` learns in it, `ever` in any phase and has moments."""
    sharded = training.strategy is Strategy.FSDP and world > 1
    half, own = training.precision is not Precision.FP32, BYTES / world if sharded else BYTES
    muon = training.optim.muon_lr and not training.optim.muon_new_only  # else at most what AdamW holds
    orthogonal = [name for name in ever if name in parts.matrices] if muon else []
    by_encoder: dict[EncoderName, list[str]] = {encoder: [] for encoder in EncoderName}
    for name in now:  # gradients of heads come with those of their encoder
        first = name.partition(".")[0].removesuffix("_head")
        by_encoder[EncoderName(first) if first in [*EncoderName] else EncoderName.FUSION].append(name)
    grouped = {name for unit in parts.units for name in unit}
    products = [
        name
        for name in now
        if (name in parts.matrices and not (sharded and name in grouped)) or name.endswith("words.weight")
    ]
    gathered = 0.0
    if sharded:  # this unit and the next, the gradient of one; embeddings and heads stay for the step
        unit, root = max(map(parts.count, parts.units)), parts.sizes.keys() - grouped
        gathered = unit * (2 * (2 if half else BYTES) + BYTES) + 2 * BYTES * parts.count(root)
    always = {
        "parameters": own * parts.count(),
        "moments": own * (2 * parts.count(ever) - parts.count(orthogonal)),
        "gradients being sent": BYTES * parts.count(now) if world > 1 and not sharded else 0.0,
        "average of the weights": own * parts.count() if training.ema else 0.0,
    }
    converted = 2.0 * parts.count(products) if half else 0.0
    return StateBytes(
        always,
        {"matrices in bfloat16": converted, "parameters of others": gathered},
        MUON_AT_ONCE * BYTES * parts.groups if training.optim.muon_lr else 0.0,
        {encoder: own * parts.count(names) for encoder, names in by_encoder.items()},
    )


# ---- memory and operations of a step
@dataclass(frozen=True)
class MemoryForecast:
    """Bytes of a process by purpose at the moment when it needs the most, all of them, and the purpose that
    takes most."""

    parts: Mapping[str, float]
    moment: str
    total: float
    largest: str


def memory_of(held: StateBytes, costs: Sequence[StepCost], accumulation: int = 1) -> MemoryForecast:
    """The peak of a step, in the backward pass (activations go as gradients come) or when the optimiser
    steps; `costs` are of a batch or of its sources, `accumulation` batches wait on the device."""
    always = {
        **held.always,
        "batch": sum(cost.batch for cost in costs) * accumulation,
        "remembered pairs": sum(cost.remembered for cost in costs),
    }
    stepping = {"gradients": sum(held.gradients.values()), "the optimiser's step": held.stepping}
    moments: list[tuple[str, Mapping[str, float]]] = [("in the optimiser's step", stepping)]
    if accumulation > 1:  # contrast compares the rows of all parts with all rows before any part learns
        contrast = sum(cost.contrast for cost in costs) * accumulation**2
        moments.append(("as contrast compares the parts of a step", {"activations: contrast": contrast}))
    done = set(held.gradients) if accumulation > 1 else set[EncoderName]()
    for cost in costs:
        for place, (encoder, kept, inside) in enumerate(cost.passes):
            left = [item for _, later, _ in cost.passes[place:] for item in later.items()]
            there = {
                "gradients": sum(held.gradients[encoder] for encoder in done),
                **{f"activations: {name}": size for name, size in left},
                "inside the largest layer": inside,
                **held.backward,
            }
            moment = f"in the backward pass of {next(iter(kept))}" if place else "as the backward pass begins"
            moments.append((moment, there))
            if any(kept.values()):
                done.add(encoder)
    moment, most = max(moments, key=lambda one: sum(one[1].values()))
    parts = {name: size for name, size in (always | {**most}).items() if size}
    return MemoryForecast(parts, moment, sum(parts.values()), max(parts, key=lambda name: parts[name]))


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
    learned = [learning(parts, one, training.mim_target) for one in phases]
    names = set[str]().union(*learned)
    ever = [name for name in parts.sizes if name in names]
    memories, accumulation = list[MemoryForecast](), training.gradient_accumulation_steps
    flops = start = 0.0
    for one, now in zip(phases, learned, strict=True):
        sizes = sizes_of(one.data, one.weights, world)
        step = StepModel(model, training, one.weights, one.negatives, one.gradients, fused)
        costs = [step.cost(part) for part in sizes.parts(training)]
        memories.append(memory_of(held_states(parts, training, now, ever, world), costs, accumulation))
        again = accumulation > 1  # then all is encoded twice
        operations = sum(cost.flops + (cost.encoding if again else 0.0) for cost in costs)
        flops += (one.until - start) * accumulation * operations
        start = one.until
    return max(memories, key=lambda one: one.total), flops / start


# ---- the ladder
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
        return {**to_plain(self), "take": self.chosen and self.chosen.name}


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
    if _smaller(recipe.data, 1, config.gpus) is None:
        raise UserError(
            f"a batch of the recipe {recipe.name} has fewer samples than there are GPUs ({config.gpus}): "
            "raise data.*.batch_size, or lower --gpus"
        )
    parts, ladder, notes = parts_of(recipe.model), list[PlanOption](), list[str]()
    cuts = [(count, data) for count in PARTS if (data := _smaller(recipe.data, count, config.gpus))]
    streams = [getattr(phase, name) for phase in recipe.curriculum for name in recipe.data.streams]
    if any(stream is not None and stream.batch_size for stream in streams):
        cuts = []
        notes.append("phases of the curriculum have batch sizes of their own, which options do not cut")
    updates = "one optimiser update; X-FM's code has three (training.three_updates)"
    if training.three_updates:
        cuts, updates = [], "three optimiser updates, and is divided no more, by source or into parts"
    notes.append(f"a step is {updates}")
    if config.gpus > 1 and training.optim.muon_lr and training.strategy is Strategy.DDP:
        notes.append("fsdp is left out: Muon needs whole matrices (training.optim.muon_lr)")
    for count, data in cuts:
        for name, stream in recipe.data.streams.items():
            if (taken := data.streams[name].batch_size * count) != stream.batch_size:
                accumulation = training.gradient_accumulation_steps * count
                lost = f"a step takes {taken} of {stream.batch_size} (data.{name}.batch_size is rounded down)"
                notes.append(f"with accumulation {accumulation} {lost}")
    for name, options, one in _rungs(recipe, config, cuts):
        memory, flops = forecast(one.model, one.training, one.phases(), config.gpus, parts)
        seconds = flops / (gpu.peak(training.precision) * 1e12 * config.share)
        hours = training.minutes / 60 if training.minutes else training.steps * seconds / HOUR
        cost = hours * config.gpus * config.price if config.price else None
        ladder.append(PlanOption(name, options, memory, flops, seconds, hours, cost, memory.total <= room))
    steps = None if training.minutes else training.steps
    given = training.precision, parts.count(), steps
    return PretrainingPlan(recipe.name, config, gpu, room, *given, ladder, notes)


def _smaller(data: DataConfig, parts: int, world: int) -> DataConfig | None:
    """The data with batches of a `parts`-th, or None where some process would be left without a sample."""
    changed = {}
    for name, stream in data.streams.items():
        size = stream.batch_size // parts // stream.group * stream.group
        changed[name] = replace(stream, batch_size=size)
        if stream.batch_size and size < world * stream.group:
            return None
    return replace(data, **changed)


def _rungs(
    recipe: Recipe, config: PlanConfig, cuts: Sequence[tuple[int, DataConfig]]
) -> Iterator[tuple[str, tuple[str, ...], Recipe]]:
    """Names, options and recipes of the ladder; `cuts`: numbers of parts of a batch, and the data of one."""
    given = recipe.training
    strategies = [given.strategy]
    if strategies == [Strategy.DDP] and config.gpus > 1 and not given.optim.muon_lr:
        strategies.append(Strategy.FSDP)
    levels = [*ActivationCheckpointing]
    kept = [
        {"activation_checkpointing": again, "sequential_sources": apart}
        for again in levels[levels.index(given.activation_checkpointing) :]
        for apart in sorted({given.sequential_sources, not given.three_updates})
    ]
    for strategy in strategies:
        settings = [(replace(given, strategy=strategy, **changed), recipe.data) for changed in kept]
        least, accumulation = settings[-1][0], given.gradient_accumulation_steps
        settings += [(replace(least, gradient_accumulation_steps=accumulation * n), d) for n, d in cuts]
        for training, data in settings:
            named = [name for name in _WORDS if getattr(training, name) != getattr(given, name)]
            words = ", ".join(_WORDS[name].format(getattr(training, name)) for name in named)
            changed = {f"--training.{name}": str(getattr(training, name)).lower() for name in named}
            if data is not recipe.data:
                streams = data.streams.items()
                changed |= {f"--data.{n}.batch_size": str(s.batch_size) for n, s in streams if s.batch_size}
            options = tuple(word for option in changed.items() for word in option)
            yield words or "as it is", options, replace(recipe, training=training, data=data)
