"""What a process of a pre-training holds, the memory and operations of its step, and what of its activations
it can keep."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from xfm.config.model import EncoderName, MimTarget, ModelConfig
from xfm.config.phases import Phase
from xfm.config.recipe import Recipe
from xfm.config.training import ActivationCheckpointing, Precision, Strategy, TrainingConfig
from xfm.models.encoders import units_of
from xfm.models.weights import without_weights
from xfm.models.xfm import XFM
from xfm.training.optim import matrix_names
from xfm.training.planning.step import StepCost, StepModel, sizes_of

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


LEVELS = (ActivationCheckpointing.NONE, ActivationCheckpointing.SELECTIVE, ActivationCheckpointing.FULL)
"""From the fastest to the one that takes least."""


def checkpointing_within(
    recipe: Recipe, room: float, world: int, fused: bool
) -> tuple[ActivationCheckpointing, float]:
    """The fastest of `LEVELS` with which a process of `world` takes at most `room` bytes, else the last one,
    and the bytes that it takes then; UserError if an encoder is another library's."""
    parts, found = parts_of(recipe.model), (LEVELS[0], 0.0)
    for level in LEVELS:
        training = replace(recipe.training, activation_checkpointing=level)
        memory, _ = forecast(recipe.model, training, recipe.phases(), world, parts, fused)
        found = level, memory.total
        if memory.total <= room:
            break
    return found
