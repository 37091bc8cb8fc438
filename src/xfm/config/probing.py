"""Configuration of evaluations on frozen picture features. Nothing here imports torch."""

from dataclasses import dataclass, field
from enum import StrEnum

from xfm.config.image import Colours, Framing
from xfm.config.training import Precision
from xfm.config.typed import MAX_BATCH, MAX_SEED, Limited, check_range, limited

LARGEST_EXPONENT = 12.0


class Method(StrEnum):
    """What is put on frozen features.

    linear: multinomial logistic regression, its L2 penalty chosen on validation rows.
    knn: cosine nearest neighbours, nothing is trained.
    zero-shot: the class whose prompts are nearest; there are no training rows.
    """

    LINEAR = "linear"
    KNN = "knn"
    ZERO_SHOT = "zero-shot"


@dataclass(frozen=True)
class RegressionConfig(Limited, place="regression."):
    """Multinomial logistic regression, and CLIP's search for its penalty.

    Attributes:
        lowest, highest: range of the search as exponents of ten of C, the inverse of the L2 penalty.
        standardise: scale every feature to deviation 1 by the training rows, which CLIP's protocol does not.
        tolerance: largest entry of the gradient of the mean loss at which a fit is finished.
        max_iterations: steps of L-BFGS of a fit at most.
    """

    lowest: float = limited(-6.0, -LARGEST_EXPONENT, LARGEST_EXPONENT)
    highest: float = 6.0
    standardise: bool = False
    tolerance: float = limited(1e-5, 0)
    max_iterations: int = limited(1000, 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("regression.highest", self.highest, self.lowest, LARGEST_EXPONENT)


@dataclass(frozen=True)
class FrozenConfig(Limited):
    """Everything that an evaluation on frozen picture features can be told.

    Attributes:
        methods: what to put on the features: linear, knn, zero-shot.
        templates: prompts of zero-shot classification: the name of a list, or a file with a template a line.
        seed: of the rows held out for validation, and of the intervals.
        validation_share: share of the training rows that chooses the penalty without validation rows.
        neighbours: k of the nearest neighbours.
        batch_size: pictures a forward pass.
        framing: how a picture becomes the model's shape; without, as the model has it.
        colours: by which mean and deviation its pixels are normalised.
        precision: arithmetic of the forward passes.
        device: auto, cpu, cuda, cuda:1, ...
        workers: processes that decode pictures; 0 decodes in this one.
        regression: the linear method.
    """

    methods: list[Method] = field(default_factory=lambda: [Method.LINEAR, Method.KNN])
    templates: str = "general"
    seed: int = limited(0, 0, MAX_SEED)
    validation_share: float = limited(0.2, 0.01, 0.9)
    neighbours: int = limited(20, 1)
    batch_size: int = limited(128, 1, MAX_BATCH)
    framing: Framing | None = None
    colours: Colours = Colours.MODEL
    precision: Precision = Precision.AUTO
    device: str = "auto"
    workers: int = limited(0, 0)
    regression: RegressionConfig = field(default_factory=RegressionConfig)

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.methods:
            raise ValueError("methods is empty: name linear, knn or zero-shot")
