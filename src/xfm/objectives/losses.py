"""What a step of any objective returns."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor


@dataclass(frozen=True)
class Named:
    """Losses and metrics by name.

    Attributes:
        losses: scalars with gradient.
        metrics: scalars without.
    """

    losses: dict[str, Tensor] = field(default_factory=dict)
    metrics: dict[str, Tensor] = field(default_factory=dict)

    def weighed(self, factor: Tensor | float) -> "Named":
        """The same, each times what it counts for."""
        losses = {name: value * factor for name, value in self.losses.items()}
        return Named(losses, {name: value * factor for name, value in self.metrics.items()})

    @staticmethod
    def merge(parts: Iterable["Named"], prefix: str = "") -> "Named":
        """All of them together, with a prefix to their names."""
        merged = Named()
        for part in parts:
            merged.losses.update({prefix + name: value for name, value in part.losses.items()})
            merged.metrics.update({prefix + name: value for name, value in part.metrics.items()})
        return merged


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

    @staticmethod
    def add(several: Sequence["Losses"]) -> "Losses":
        """Those of a batch that was taken in several parts, each with losses of its own."""
        if len(several) == 1:
            return several[0]
        named = Named.merge(Named(one.parts, one.metrics) for one in several)
        return Losses(torch.stack([one.total for one in several]).sum(), named.losses, named.metrics)
