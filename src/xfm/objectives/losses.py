"""What a step of any objective returns."""

from dataclasses import dataclass, field

from torch import Tensor


@dataclass(frozen=True)
class Losses:
    """Losses of one batch.

    Attributes:
        total: scalar to differentiate, the weighted sum of the parts.
        parts: unweighted scalars by name, for the log.
        metrics: further scalars by name (accuracies, temperature), without gradient.
    """

    total: Tensor
    parts: dict[str, Tensor]
    metrics: dict[str, Tensor] = field(default_factory=dict)
