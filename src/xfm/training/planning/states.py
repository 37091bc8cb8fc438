"""What a process holds through a run: parameters, gradients, moments, and what its strategy adds."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod

from xfm.config.model import EncoderName, MimTarget, ModelConfig
from xfm.config.phases import Phase
from xfm.config.training import Precision, Strategy, TrainingConfig
from xfm.models.encoders import units_of
from xfm.models.weights import without_weights
from xfm.models.xfm import XFM
from xfm.training.optim import matrix_names

BYTES = 4
"""Of a parameter, a gradient and a moment: all are float32."""
MUON_AT_ONCE = 4.0
"""Copies of the matrices of a shape that Muon has at once."""


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
    shapes: dict[tuple[int, ...], int] = {}
    for name in matrices:
        shape = tuple(sorted(named[name].shape))
        shapes[shape] = shapes.get(shape, 0) + prod(shape)
    inside = [[by_id[id(p)] for p in unit.parameters()] for unit in units_of(model)]
    return ModelParts(sizes, matrices, max(shapes.values(), default=0), inside)


def learning(parts: ModelParts, phase: Phase, target: MimTarget) -> list[str]:
    """Names of the parameters that have gradients in a phase of a run."""
    w, data = phase.weights, phase.data
    with_texts = data.pair.batch_size or data.region.batch_size
    boxes = (w.box_l1 or w.box_giou) and data.region.batch_size
    fused = with_texts and (w.itm or w.imlm or boxes)
    masked = w.mim and (data.image.batch_size or (data.pair.batch_size and data.patch_mask.on_pairs))
    spoken = w.mlm and data.text.batch_size
    used = {
        "vision.mask_vector": masked,
        "vision.": with_texts or masked,
        "language.": with_texts or spoken,
        "fusion.embeddings.words": with_texts and w.imlm,
        "fusion.embeddings.": False,
        "fusion.": fused,
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
    """Bytes of a process: own parameters and moments, gradients by the encoder with which they come, DDP's
    copy to send, FSDP2's gathered units, matrices in bfloat16, the optimiser's step, and the average."""

    parameters: float
    gradients: Mapping[EncoderName, float]
    moments: float
    sent: float
    gathered: float
    converted: float
    stepping: float
    average: float


def held_states(
    parts: ModelParts, training: TrainingConfig, now: list[str], ever: list[str], world: int
) -> StateBytes:
    """Bytes that a process holds in a phase: `now` learns in it, `ever` in any phase and has moments."""
    sharded = training.strategy is Strategy.FSDP and world > 1
    share, half = 1 / world if sharded else 1.0, training.precision is not Precision.FP32
    orthogonal = [name for name in ever if name in parts.matrices] if training.optim.muon_lr else []
    moments = BYTES * (2 * parts.count(ever) - parts.count(orthogonal))
    by_encoder: dict[EncoderName, list[str]] = {encoder: [] for encoder in EncoderName}
    for name in now:  # gradients of heads come with those of their encoder
        first = name.partition(".")[0].removesuffix("_head")
        by_encoder[EncoderName(first) if first in [*EncoderName] else EncoderName.FUSION].append(name)
    grouped = {name for unit in parts.units for name in unit}
    root = [name for name in parts.sizes if name not in grouped]
    products = [
        name
        for name in now
        if (name in parts.matrices and not (sharded and name in grouped)) or name.endswith("words.weight")
    ]
    unit = max(parts.count(one) for one in parts.units)
    gathered = 0.0
    if sharded:  # this unit and the next, the gradient of one; embeddings and heads stay for the step
        gathered = unit * (2 * (2 if half else BYTES) + BYTES) + 2 * BYTES * parts.count(root)
    return StateBytes(
        BYTES * parts.count() * share,
        {encoder: BYTES * parts.count(names) * share for encoder, names in by_encoder.items()},
        moments * share,
        BYTES * parts.count(now) if world > 1 and not sharded else 0.0,
        gathered,
        2.0 * (parts.count(products) if half else 0),
        MUON_AT_ONCE * BYTES * parts.groups if training.optim.muon_lr else 0.0,
        BYTES * parts.count() * share if training.ema else 0.0,
    )
