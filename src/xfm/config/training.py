"""Configuration of training. Nothing here imports torch."""

from dataclasses import dataclass, field, fields
from enum import StrEnum

from xfm.config.ranges import check_range


class Precision(StrEnum):
    """Arithmetic of the forward pass. `auto` is bf16 where the device is good at it."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


@dataclass(frozen=True)
class LossConfig:
    """Weights of the summed losses (1 in the published model), and the draw of ITM's negatives.

    Attributes:
        mlm: masked tokens of plain text.
        itc: image-text contrast.
        itm: image-text matching.
        imlm: masked tokens given the picture.
        mim: masked patches.
        box_l1: absolute error of predicted boxes.
        box_giou: generalised IoU of predicted boxes.
        negative_floor: added to the probability of every candidate for ITM's negatives. The published 1e-5
            draws the hardest; a larger floor puts easy ones among them.
    """

    mlm: float = 1.0
    itc: float = 1.0
    itm: float = 1.0
    imlm: float = 1.0
    mim: float = 1.0
    box_l1: float = 1.0
    box_giou: float = 1.0
    negative_floor: float = 1e-5

    def __post_init__(self) -> None:
        for term in fields(self):
            check_range(f"weights.{term.name}", getattr(self, term.name), 0)


@dataclass(frozen=True)
class OptimConfig:
    """AdamW, by choice with Muon for the matrices; warm-up, by choice a stretch at the peak, linear decay.

    Attributes:
        lr: peak learning rate.
        muon_lr: peak learning rate of Muon (Jordan et al., 2024) for the matrices of linear layers; the rest
            stays with AdamW. 0 leaves the matrices to AdamW, too (as published). Its steps are scaled to the
            size of AdamW's, so that a few times `lr` is a good start.
        new_lr_multiplier: multiplier for newly initialised parts: heads, and fusion when the encoders are
            loaded.
        betas: AdamW's moments.
        weight_decay: decay of matrices; vectors, scalars and position tables have none.
        warmup: steps of linear warm-up; the first step already moves.
        hold: share of the steps after the warm-up that stay at the peak before the decay starts.
        clip: largest gradient norm over all parameters.
        published: optimise exactly as the published code does: decay by its rules and after the step, warm-up
            from rate 0; only its own heads learn faster. `muon_lr` and `hold` must be 0.
    """

    lr: float = 1e-4
    muon_lr: float = 0.0
    new_lr_multiplier: float = 2.0
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    warmup: int = 2500
    hold: float = 0.0
    clip: float = 1.0
    published: bool = False

    def __post_init__(self) -> None:
        if self.published and (self.muon_lr or self.hold):
            raise ValueError("the published optimiser has no Muon and no hold: set muon_lr and hold to 0")
        for name in ("lr", "muon_lr", "new_lr_multiplier", "weight_decay", "warmup", "clip"):
            check_range(f"optim.{name}", getattr(self, name), 0)
        check_range("optim.hold", self.hold, 0, 1)
        for beta in self.betas:
            check_range("optim.betas", beta, 0, 1)


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    Attributes:
        steps: optimiser steps.
        accumulate: batches per optimiser step.
        seed: seed of everything random.
        precision: arithmetic of the forward pass.
        optim: optimiser and schedule.
        weights: weights of the losses.
        save_every: steps between checkpoints.
        keep: checkpoints kept; older ones are deleted.
        log_every: steps between log lines.
        max_bad_steps: NaN or infinite losses in a row after which the run stops.
    """

    steps: int = 200_000
    accumulate: int = 1
    seed: int = 0
    precision: Precision = Precision.AUTO
    optim: OptimConfig = field(default_factory=OptimConfig)
    weights: LossConfig = field(default_factory=LossConfig)
    save_every: int = 1000
    keep: int = 2
    log_every: int = 10
    max_bad_steps: int = 5
