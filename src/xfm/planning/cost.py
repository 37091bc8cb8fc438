"""What a part of a step costs: bytes that its passes keep, and operations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from xfm.config.gradients import EncoderName


@dataclass(frozen=True)
class ModelPass:
    """A pass through an encoder, or through the heads on it.

    Attributes:
        encoder: whose gradients are there when its backward pass is done.
        kept: bytes that the forward pass keeps, by what they are.
        inside: bytes that come and go in its backward pass: gradients of the largest layer, with the layer
            where it is computed again, or those of logits.
    """

    encoder: EncoderName
    kept: Mapping[str, float]
    inside: float


@dataclass(frozen=True)
class StepCost:
    """A part of a step.

    Attributes:
        passes: in the order in which the backward pass comes to them, the reverse of the forward pass.
        flops: operations of forward and backward pass, recomputing included.
        encoding: operations of what is encoded once more, without gradient, where a step has several parts.
        batch: bytes of the batch itself.
        contrast: bytes that comparing own rows with all rows keeps.
        remembered: bytes of the pairs of earlier steps among which negatives are drawn.
    """

    passes: Sequence[ModelPass]
    flops: float
    encoding: float
    batch: float
    contrast: float
    remembered: float = 0.0

    @property
    def kept(self) -> float:
        """Bytes that the forward pass keeps."""
        return sum(size for one in self.passes for size in one.kept.values())
