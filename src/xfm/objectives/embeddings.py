"""Unit vectors of images and texts, and their identities."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class PairEmbeddings:
    """Unit vectors [R, E] float32 of images (or regions) and texts, and their identities [R] int64."""

    image: Tensor
    text: Tensor
    image_identity: Tensor
    text_identity: Tensor

    @staticmethod
    def join(parts: Sequence["PairEmbeddings"]) -> "PairEmbeddings":
        """Concatenation."""
        if len(parts) == 1:
            return parts[0]
        names = ("image", "text", "image_identity", "text_identity")
        return PairEmbeddings(*(torch.cat([getattr(part, name) for part in parts]) for name in names))


def same_identity(
    image_identity: Tensor, text_identity: Tensor, everyone: tuple[Tensor, Tensor] | None = None
) -> Tensor:
    """[R, N] bool pairs that are no negatives: equal image (in regions: image and box) or equal text, of
    rows [R] with `everyone` [N] (default: themselves)."""
    images, texts = everyone or (image_identity, text_identity)
    return torch.logical_or(image_identity[:, None] == images, text_identity[:, None] == texts)
