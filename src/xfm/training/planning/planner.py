"""The plan of a pre-training: its memory and time, and settings that fit; and what vectors cost."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from xfm.config.data import DataConfig
from xfm.config.plain import to_plain
from xfm.config.planning import Gpu, PlanConfig, gpu_of
from xfm.config.recipe import Recipe
from xfm.config.training import ActivationCheckpointing, Precision, Strategy
from xfm.core.errors import UserError
from xfm.models.features import CAPTION_TOKENS
from xfm.training.planning.memory import LEVELS, MemoryForecast, forecast, without_memory
from xfm.training.pretrain import begin

PARTS = (2, 4, 8, 16)
"""Into how many parts the ladder cuts a batch."""
HOUR, MILLION = 3600.0, 1_000_000
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
    if training.activation_checkpointing is ActivationCheckpointing.AUTO:  # the ladder says what fits
        training = replace(training, activation_checkpointing=LEVELS[0])
    recipe = replace(recipe, training=training)
    if _smaller(recipe.data, 1, config.gpus) is None:
        raise UserError(
            f"a batch of the recipe {recipe.name} has fewer samples than there are GPUs ({config.gpus}): "
            "raise data.*.batch_size, or lower --gpus"
        )
    model, ladder, notes = without_memory(recipe.model), list[PlanOption](), list[str]()
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
        memory, flops = forecast(model, one.training, one.phases(), config.gpus)
        seconds = flops / (gpu.peak(training.precision) * 1e12 * config.share)
        hours = training.minutes / 60 if training.minutes else training.steps * seconds / HOUR
        cost = hours * config.gpus * config.price if config.price else None
        ladder.append(PlanOption(name, options, memory, flops, seconds, hours, cost, memory.total <= room))
    steps = None if training.minutes else training.steps
    given = training.precision, sum(one.numel() for one in model.parameters()), steps
    return PretrainingPlan(recipe.name, config, gpu, room, *given, ladder, notes)


@dataclass(frozen=True)
class VectorCost:
    """Operations of one input's vector, inputs a second of all GPUs, and hours and cost of a million (None
    without a price)."""

    flops: float
    rate: float
    hours: float
    cost: float | None


def vector_costs(recipe: Recipe, config: PlanConfig | None = None) -> dict[str, VectorCost]:
    """What vectors of `pictures` and of `captions` (of 40 tokens) take, by the operations of the forward pass
    at a share of the GPUs' peak; reading and decoding are not counted. UserError as of `plan`."""
    config = config or PlanConfig()
    gpu, recipe = gpu_of(config), begin(recipe)[0]
    vision, model = recipe.model.vision, without_memory(recipe.model).eval()
    nothing = {name: torch.zeros(one.shape) for name, one in model.named_parameters()}
    model.load_state_dict(nothing, strict=False, assign=True)
    pixels = torch.zeros(1, 3, vision.image_size, vision.image_width or vision.image_size)
    ids = torch.zeros(1, CAPTION_TOKENS, dtype=torch.int64)
    computed = {
        "pictures": partial(model.embed_image, pixels),
        "captions": partial(model.embed_text, ids, torch.ones_like(ids)),
    }
    found = dict[str, VectorCost]()
    for name, compute in computed.items():
        # Of the fused kernels those of a CPU are not counted.
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
            compute()
        flops = float(counter.get_total_flops())
        rate = config.gpus * gpu.peak(recipe.training.precision) * 1e12 * config.share / flops
        hours = MILLION / rate / HOUR
        cost = hours * config.gpus * config.price if config.price else None
        found[name] = VectorCost(flops, rate, hours, cost)
    return found


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
    kept = [
        {"activation_checkpointing": again, "sequential_sources": apart}
        for again in LEVELS[LEVELS.index(given.activation_checkpointing) :]
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
