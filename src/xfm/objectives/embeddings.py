"""What contrast compares: unit vectors of pictures and texts, and whose they are."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairEmbeddings:
    """What contrast compares of R rows.

    Attributes:
        image, text: [R, E] unit vectors of pictures (or regions) and texts, float32.
        image_identity, text_identity: [R] int64, see `same_identity`.
    """

    image: Tensor
    text: Tensor
    image_identity: Tensor
    text_identity: Tensor

    @staticmethod
    def join(parts: Sequence["PairEmbeddings"]) -> "PairEmbeddings":
        """All of them, one after the other."""
        if len(parts) == 1:
            return parts[0]
        names = ("image", "text", "image_identity", "text_identity")
        return PairEmbeddings(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def same_identity(
    image_identity: Tensor, text_identity: Tensor, everyone: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """Pairs of rows that must not be negatives of each other.

    Identity is the picture in pair batches and the (picture, box) in region batches: different regions of one
    picture are negatives of each other.

    Args:
        image_identity: [R] int64.
        text_identity: [R] int64.
        everyone: [N] int64 both, of the batch whose rows these are some of; these rows themselves if None.

    Returns:
        [R, N] bool, True where the pictures or the texts are equal.
    """
    images, texts = everyone or (image_identity, text_identity)
    return torch.logical_or(image_identity[:, None] == images, text_identity[:, None] == texts)
