"""Which rows of a batch are the same thing, so that no duplicate counts as a negative."""

import torch
from torch import Tensor


def same_identity(image_identity: Tensor, text_identity: Tensor) -> Tensor:
    """Pairs of rows that must not be negatives of each other.

    Identity is the picture in pair batches and the (picture, box) in region batches: different regions of one
    picture are negatives of each other.

    Args:
        image_identity: [R] int64.
        text_identity: [R] int64.

    Returns:
        [R, R] bool, True where the pictures or the texts are equal; the diagonal is True.
    """
    same_image = image_identity[:, None] == image_identity
    return torch.logical_or(same_image, text_identity[:, None] == text_identity)
