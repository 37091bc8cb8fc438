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
from xfm.training.planning.step import StepCost, StepModel, parts_of_step, sizes_of

BYTES = 4
"""Of a parameter, a gradient and a moment: all are float32."""
MUON_AT_ONCE = 4.0
"""Copies of the matrices of a shape that Muon has at once."""


# ---- what a process holds through a run
def without_memory(config: ModelConfig) -> XFM:
    """A model whose parameters have no memory."""
    with without_weights():
        return XFM(config)


def learning(model: XFM, phase: Phase, target: MimTarget) -> list[str]:
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
    names = [name for name, _ in model.named_parameters()]
    return [name for name in names if next(on for start, on in used.items() if name.startswith(start))]


@dataclass(frozen=True)
class StateBytes:
    """Bytes of a process by purpose: what is there always, in the backward pass, and in the optimiser's step;
    and gradients by the encoder with which they come."""

    always: Mapping[str, float]
    backward: Mapping[str, float]
    stepping: float
    gradients: Mapping[EncoderName, float]


def held_states(
    model: XFM, training: TrainingConfig, now: list[str], ever: list[str], world: int
) -> StateBytes:
    """Bytes that a process holds in a phase: `now` learns in it, `ever` in any phase and has moments."""
    named = dict(model.named_parameters())

    def count(names: Iterable[str]) -> int:
        return sum(named[name].numel() for name in names)

    units = [list(unit.parameters()) for unit in units_of(model)]
    grouped, matrices = {id(one) for unit in units for one in unit}, named.keys() & matrix_names(model)
    root = {name for name, one in named.items() if id(one) not in grouped}
    sharded = training.strategy is Strategy.FSDP and world > 1
    half, own = training.precision is not Precision.FP32, BYTES / world if sharded else BYTES
    muon = training.optim.muon_lr and not training.optim.muon_new_only  # else at most what AdamW holds
    by_encoder: dict[EncoderName, list[str]] = {encoder: [] for encoder in EncoderName}
    for name in now:  # gradients of heads come with those of their encoder
        first = name.partition(".")[0].removesuffix("_head")
        by_encoder[EncoderName(first) if first in [*EncoderName] else EncoderName.FUSION].append(name)
    products = matrices & (root if sharded else named.keys())
    products |= {name for name in named if name.endswith("words.weight")}
    gathered = 0.0
    if sharded:  # this unit and the next, the gradient of one; embeddings and heads stay for the step
        unit = max(sum(one.numel() for one in unit) for unit in units)
        gathered = unit * (2 * (2 if half else BYTES) + BYTES) + 2 * BYTES * count(root)
    always = {
        "parameters": own * count(named),
        "moments": own * (2 * count(ever) - (count(matrices.intersection(ever)) if muon else 0)),
        "gradients being sent": BYTES * count(now) if world > 1 and not sharded else 0.0,
        "average of the weights": own * count(named) if training.ema else 0.0,
    }
    shapes = Counter[tuple[int, ...]]()
    for name in matrices:
        shapes[tuple(sorted(named[name].shape))] += named[name].numel()
    return StateBytes(
        always,
        {
            "matrices in bfloat16": 2.0 * count(products.intersection(now)) if half else 0.0,
            "parameters of others": gathered,
        },
        MUON_AT_ONCE * BYTES * max(shapes.values()) if training.optim.muon_lr else 0.0,
        {encoder: own * count(names) for encoder, names in by_encoder.items()},
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
        for place, (encoder, made) in enumerate(cost.passes):
            left = [item for _, later in cost.passes[place:] for item in later.items()]
            there = {
                "gradients": sum(held.gradients[encoder] for encoder in done),
                **{f"activations: {name}": one.kept for name, one in left},
                "inside the largest layer": max(one.inside for one in made.values()),
                **held.backward,
            }
            moment = f"in the backward pass of {next(iter(made))}" if place else "as the backward pass begins"
            moments.append((moment, there))
            if any(one.kept for one in made.values()):
                done.add(encoder)
    moment, most = max(moments, key=lambda one: sum(one[1].values()))
    parts = {name: size for name, size in (always | {**most}).items() if size}
    return MemoryForecast(parts, moment, sum(parts.values()), max(parts, key=lambda name: parts[name]))


def forecast(
    model: XFM, training: TrainingConfig, phases: Sequence[Phase], world: int, fused: bool = True
) -> tuple[MemoryForecast, float]:
    """Memory in the most demanding phase, and mean operations of a step, of a process of a run of `world`;
    UserError if an encoder is another library's."""
    learned = [learning(model, one, training.mim_target) for one in phases]
    names = set[str]().union(*learned)
    ever = sorted(names)
    memories, accumulation = list[MemoryForecast](), training.gradient_accumulation_steps
    flops = start = 0.0
    for one, now in zip(phases, learned, strict=True):
        sizes = sizes_of(one.data, one.weights, world)
        step = StepModel(model.config, training, one.weights, one.negatives, one.gradients, fused)
        costs = [step.cost(part) for part in parts_of_step(sizes, training)]
        memories.append(memory_of(held_states(model, training, now, ever, world), costs, accumulation))
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
    model, found = without_memory(recipe.model), (LEVELS[0], 0.0)
    for level in LEVELS:
        training = replace(recipe.training, activation_checkpointing=level)
        memory, _ = forecast(model, training, recipe.phases(), world, fused)
        found = level, memory.total
        if memory.total <= room:
            break
    return found
