"""Which rows of a batch are the same thing, so that no duplicate counts as a negative."""

import torch
from torch import Tensor


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
