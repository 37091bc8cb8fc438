"""Configuration of training. Nothing here imports torch."""

from dataclasses import dataclass, field, fields
from enum import StrEnum

from xfm.config.model import GradientConfig, MimTarget
from xfm.config.typed import MAX_BATCH, MAX_SEED, Limited, check_limits, check_range, limited

MAX_MINUTES = 366 * 24 * 60
"""A year: a longer training is a slip."""
MAX_DECAY = 1 - 1e-7
"""Of a moving average: above that float32 cannot tell a step's share from none."""


class Precision(StrEnum):
    """Arithmetic of the forward pass. `auto` is bf16 where the device is good at it."""

    AUTO = "auto"
    FP32 = "fp32"
    BF16 = "bf16"


class Change(StrEnum):
    """What a resumed run may have otherwise if it is told so: the files of its data, its processes."""

    DATA = "data"
    PROCESSES = "processes"


class ReportTo(StrEnum):
    """Experiment trackers."""

    TENSORBOARD = "tensorboard"
    WANDB = "wandb"
    MLFLOW = "mlflow"
    TRACKIO = "trackio"


class Strategy(StrEnum):
    """How several processes hold a model.

    ddp: each has all of it.
    fsdp: each has a part of every parameter, gradient and moment (FSDP2).
    """

    DDP = "ddp"
    FSDP = "fsdp"


class ActivationCheckpointing(StrEnum):
    """What of its layers a forward pass does not keep, but computes again in the backward pass.

    auto: none where memory allows it by the formulas of `xfm plan`, else the fastest that fits.
    none: all is kept.
    selective: what lies between the products of matrices is computed again: norms, GELU, dropout, softmax,
        sums, copies, and of attention's two products the one that gives more than it takes. Linear layers
        are not.
    full: a layer keeps its input alone.
    """

    AUTO = "auto"
    NONE = "none"
    SELECTIVE = "selective"
    FULL = "full"


class Schedule(StrEnum):
    """How the learning rate falls from its peak to 0: along a line, or along half a cosine."""

    LINEAR = "linear"
    COSINE = "cosine"


class Grouping(StrEnum):
    """Which parameters are decayed, and which learn at a rate of their own.

    by-kind: matrices are decayed, no vector or table; new parts and, with layer_decay, layers have rates of
        their own.
    one: all in one group, decayed alike at one rate, as the published fine-tuning of image classification.
    """

    BY_KIND = "by-kind"
    ONE = "one"


@dataclass(frozen=True)
class LossConfig(Limited, place="weights."):
    """Weights of the summed losses, 1 in the published model.

    Attributes:
        mlm: masked tokens of plain text.
        itc: image-text contrast.
        itm: image-text matching.
        imlm: masked tokens given the picture.
        mim: masked patches.
        box_l1: absolute error of predicted boxes.
        box_giou: 1 - generalised IoU of predicted boxes.
    """

    mlm: float = limited(1.0, 0)
    itc: float = limited(1.0, 0)
    itm: float = limited(1.0, 0)
    imlm: float = limited(1.0, 0)
    mim: float = limited(1.0, 0)
    box_l1: float = limited(1.0, 0)
    box_giou: float = limited(1.0, 0)


@dataclass(frozen=True)
class NegativesConfig(Limited, place="negatives."):
    """The draw of ITM's hard negatives.

    Attributes:
        min_probability: added to the probability of every candidate; a larger one draws easier negatives.
        pool_size: they are drawn among so many pictures that follow one another (published: 96); 0: all.
        queue_size: pairs of earlier steps among which half of the rows draw (as MoCo's queue); 0: none.
    """

    min_probability: float = limited(1e-5, 0)
    pool_size: int = limited(0, 0)
    queue_size: int = limited(0, 0, MAX_BATCH)


@dataclass(frozen=True)
class LearningRates:
    """Learning rates, warm-up and decay of a fine-tuning; `OptimConfig` is the whole of pre-training's.

    Attributes:
        lr: peak learning rate.
        muon_lr: peak learning rate of Muon for matrices, a few times `lr`; 0 leaves them to AdamW.
        new_lr_multiplier: multiplier for newly initialised parts, such as heads and decoders.
        weight_decay: decay of matrices; vectors, scalars and position tables have none.
        schedule: the decay of the learning rate.
        layer_decay: factor of the learning rate from a layer to the one below it (arXiv 2106.08254).
        grouping: which parameters are decayed and have rates of their own.
        least_lr: what the learning rate falls to at the end; at most `lr`.
        warmup: share of the steps with a rising learning rate; it falls to 0 afterwards.
        betas: AdamW's moments.
        eps: AdamW's epsilon.
        clip: largest gradient norm over all parameters; 0 clips nothing.
        published: optimise as the published code does, see `OptimConfig`.
    """

    lr: float = limited(1e-4, 0)
    muon_lr: float = limited(0.0, 0)
    new_lr_multiplier: float = limited(5.0, 0)
    weight_decay: float = limited(0.01, 0)
    schedule: Schedule = Schedule.LINEAR
    layer_decay: float = 1.0
    grouping: Grouping = Grouping.BY_KIND
    least_lr: float = limited(0.0, 0)
    warmup: float = limited(0.1, 0, 0.99)
    betas: tuple[float, float] = (0.9, 0.98)
    eps: float = limited(1e-8, 1e-16, 1)
    clip: float = limited(1.0, 0)
    published: bool = False

    def check_rates(self, place: str = "", least_decay: float = 0.01) -> None:
        """Refuse, by a ValueError, rates that no training can have; `place` begins the names of fields."""
        check_limits(self, place)
        check_range(f"{place}least_lr", self.least_lr, 0, max(self.lr, 0) if self.lr else 1)
        check_range(f"{place}layer_decay", self.layer_decay, least_decay, 1)
        for beta in self.betas:
            check_range(f"{place}betas", beta, 0, 0.999999)

    def optim(self, steps: int) -> "OptimConfig":
        """The optimiser of a fine-tuning of so many steps."""
        rates = {one.name: getattr(self, one.name) for one in fields(LearningRates)}
        return OptimConfig(**{**rates, "warmup": round(steps * self.warmup)})


@dataclass(frozen=True)
class OptimConfig(LearningRates):
    """AdamW, by choice with Muon for the matrices; warm-up, by choice a stretch at the peak, then the decay.

    Attributes:
        warmup: steps of linear warm-up; the first step already moves.
        hold: share of the run after the warm-up that stays at the peak before the decay starts.
        muon_new_only: Muon has the matrices of new parts alone, and AdamW those that the run begins with.
        published: optimise exactly as the published code does; `muon_lr` and `hold` must be 0.
    """

    new_lr_multiplier: float = limited(2.0, 0)
    warmup: int = limited(2500, 0)
    hold: float = limited(0.0, 0, 1)
    muon_new_only: bool = False

    def __post_init__(self) -> None:
        more = self.muon_lr or self.hold or self.least_lr or self.layer_decay != 1
        if self.published and (more or self.schedule is not Schedule.LINEAR):
            raise ValueError("the published optimiser has no muon_lr, hold, layer_decay, least_lr and cosine")
        if self.grouping is Grouping.ONE and (self.muon_lr or self.layer_decay != 1):
            raise ValueError("training.optim.grouping one is one rate: set muon_lr to 0 and layer_decay to 1")
        self.check_rates("training.optim.", least_decay=0)


@dataclass(frozen=True)
class TrainingConfig:
    """A training run.

    Attributes:
        steps: optimiser steps.
        minutes: time for the training, whose passed share then decides in place of `steps`; 0: steps decide.
        gradient_accumulation_steps: batches per optimiser step; contrast spans all of them (GradCache).
        sequential_sources: whether the sources of a batch are taken one after the other, to save memory.
        three_updates: as X-FM's code, an update by texts, one by regions and pictures, one by pairs a step.
        strategy: how several processes hold the model.
        activation_checkpointing: what layers compute again in the backward pass.
        timeout: minutes that a process waits in a step for the others, after which the run stops.
        seed: seed of everything random.
        precision: arithmetic of the forward pass.
        optim: optimiser and schedule.
        weights: weights of the losses.
        negatives: the draw of ITM's negatives.
        gradients: which encoders each objective's gradient reaches.
        mim_target: what MIM predicts; `pixels` needs `model.pixel_head`, `initial` weights to begin with.
        save_every: steps between checkpoints.
        keep: checkpoints kept; older ones are deleted.
        log_every: steps between log lines.
        report_to: experiment trackers: tensorboard, wandb, mlflow, trackio; each is an extra of the package.
        ema: decay of an average of the weights, which the finished model has, such as 0.9999; 0: none.
        validate_every: steps between looks at the losses of `data.validation`; 0 looks never.
        validate_steps: batches of such a look, always the same ones.
        max_bad_steps: NaN or infinite losses in a row after which the run stops.
    """

    steps: int = limited(200_000, 1)
    minutes: float = limited(0.0, 0, MAX_MINUTES)
    gradient_accumulation_steps: int = limited(1, 1)
    sequential_sources: bool = False
    three_updates: bool = False
    strategy: Strategy = Strategy.DDP
    activation_checkpointing: ActivationCheckpointing = ActivationCheckpointing.NONE
    timeout: float = limited(30.0, 0.01, MAX_MINUTES)
    seed: int = limited(0, 0, MAX_SEED)
    precision: Precision = Precision.AUTO
    optim: OptimConfig = field(default_factory=OptimConfig)
    weights: LossConfig = field(default_factory=LossConfig)
    negatives: NegativesConfig = field(default_factory=NegativesConfig)
    gradients: GradientConfig = field(default_factory=GradientConfig)
    mim_target: MimTarget = MimTarget.STATES
    save_every: int = 1000
    keep: int = 2
    log_every: int = limited(10, 1)
    report_to: list[ReportTo] = field(default_factory=list)
    ema: float = limited(0.0, 0, MAX_DECAY)
    validate_every: int = limited(0, 0)
    validate_steps: int = limited(10, 1)
    max_bad_steps: int = 5

    def __post_init__(self) -> None:
        check_limits(self, "training.")
        if self.three_updates and (self.sequential_sources or self.gradient_accumulation_steps > 1):
            raise ValueError("training.three_updates bars sequential_sources and accumulation: leave one out")
        if self.strategy is Strategy.FSDP and self.optim.muon_lr:
            raise ValueError(
                "training.strategy fsdp keeps parts of matrices, and Muon needs whole ones: set "
                "training.optim.muon_lr to 0, or the strategy to ddp"
            )
