"""Configuration of evaluations on frozen picture features. Nothing here imports torch."""

from dataclasses import dataclass, field
from enum import StrEnum

from xfm.config.pixels import Colours, Framing
from xfm.config.ranges import MAX_SEED, check_range, check_ranges
from xfm.config.training import Precision
from xfm.config.typed import settle_members

LARGEST_EXPONENT = 12.0


class Method(StrEnum):
    """What is put on frozen features.

    linear: multinomial logistic regression, its L2 penalty chosen on validation rows.
    head: the published head, five layers.
    knn: cosine nearest neighbours, nothing is trained.
    """

    LINEAR = "linear"
    HEAD = "head"
    KNN = "knn"


class Sweep(StrEnum):
    """How the penalty is chosen.

    binary-search: as CLIP does, a coarse grid whose best interval is halved until 8 values a decade are told
        apart.
    grid: every value of a list.
    """

    BINARY_SEARCH = "binary-search"
    GRID = "grid"


@dataclass(frozen=True)
class RegressionConfig:
    """Multinomial logistic regression and the choice of its penalty.

    Attributes:
        sweep: how C is chosen. scikit-learn's C is the inverse of the L2 penalty.
        grid: values of C for the grid.
        lowest, highest: range of the binary search as exponents of ten of C.
        standardise: scale every feature to deviation 1 by the training rows. CLIP's protocol takes features
            as they are.
        tolerance: largest entry of the gradient of the mean loss at which a fit is finished. scikit-learn's
            tol is 1e-4, with which it ends short of the optimum where the penalty is weak.
        max_iterations: steps of L-BFGS of a fit at most.
    """

    sweep: Sweep = Sweep.BINARY_SEARCH
    grid: list[float] = field(default_factory=lambda: [10.0**exponent for exponent in range(-4, 5)])
    lowest: float = -6.0
    highest: float = 6.0
    standardise: bool = False
    tolerance: float = 1e-5
    max_iterations: int = 1000

    def __post_init__(self) -> None:
        settle_members(self, "regression.")
        if not self.grid:
            raise ValueError("regression.grid is empty: give values of C")
        for value in self.grid:
            check_range("regression.grid", value, 10**-LARGEST_EXPONENT, 10**LARGEST_EXPONENT)
        check_range("regression.lowest", self.lowest, -LARGEST_EXPONENT, LARGEST_EXPONENT)
        check_range("regression.highest", self.highest, self.lowest, LARGEST_EXPONENT)
        check_range("regression.tolerance", self.tolerance, 0)
        check_range("regression.max_iterations", self.max_iterations, 1)


@dataclass(frozen=True)
class HeadConfig:
    """Training of the published five-layer head on cached features.

    Attributes:
        epochs: passes over the training rows.
        batch_size: rows a step; 0 takes all of them (full batch).
        lr: peak learning rate of AdamW.
        weight_decay: decay of matrices.
        warmup: share of the steps with a rising rate; it falls along half a cosine afterwards.
        label_smoothing: share of the target that is spread over all classes.
    """

    epochs: int = 100
    batch_size: int = 256
    lr: float = 3e-4
    weight_decay: float = 0.01
    warmup: float = 0.05
    label_smoothing: float = 0.0

    def __post_init__(self) -> None:
        check_range("head.epochs", self.epochs, 1)
        check_ranges(self, ("batch_size", "lr", "weight_decay"), 0, place="head.")
        check_ranges(self, ("warmup", "label_smoothing"), 0, 1, "head.")


@dataclass(frozen=True)
class FeatureConfig:
    """How pictures become features.

    Attributes:
        batch_size: pictures a forward pass.
        framing: how a picture becomes the model's shape; without, as the model has it.
        colours: by which mean and deviation its pixels are normalised.
        precision: arithmetic of the forward passes.
        device: auto, cpu, cuda, cuda:1, ...
        workers: processes that decode pictures; 0 decodes in this one.
    """

    batch_size: int = 128
    framing: Framing | None = None
    colours: Colours = Colours.MODEL
    precision: Precision = Precision.AUTO
    device: str = "auto"
    workers: int = 0

    def __post_init__(self) -> None:
        settle_members(self, "features.")
        check_range("features.batch_size", self.batch_size, 1)
        check_range("features.workers", self.workers, 0)


@dataclass(frozen=True)
class LinearEvaluationConfig:
    """Everything that `xfm probe` can be told.

    Attributes:
        methods: what to put on the features: linear, head, knn.
        seed: of the head, of the order of its rows, and of the rows held out for validation.
        validation_share: share of the training rows, of every class alike, that chooses the penalty where no
            validation rows are given.
        neighbours: k of the nearest neighbours.
        features: how pictures become features.
        regression: the linear method.
        head: the five-layer head.
    """

    methods: list[Method] = field(default_factory=lambda: [Method.LINEAR, Method.KNN])
    seed: int = 0
    validation_share: float = 0.2
    neighbours: int = 20
    features: FeatureConfig = field(default_factory=FeatureConfig)
    regression: RegressionConfig = field(default_factory=RegressionConfig)
    head: HeadConfig = field(default_factory=HeadConfig)

    def __post_init__(self) -> None:
        settle_members(self)
        if not self.methods:
            raise ValueError("methods is empty: name linear, head or knn")
        check_range("validation_share", self.validation_share, 0.01, 0.9)
        check_range("neighbours", self.neighbours, 1)
        check_range("seed", self.seed, 0, MAX_SEED)
