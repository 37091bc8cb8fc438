"""ITC: image-text contrast with a learned temperature (paper section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def contrastive_loss(similarity: Tensor, same: Tensor) -> Tensor:
    """Symmetric cross-entropy against the diagonal; duplicates are neither positives nor negatives.

    Args:
        similarity: [R, R] image x text cosines divided by the temperature.
        same: [R, R] bool from `same_identity`; its off-diagonal pairs leave the denominators.

    Returns:
        The mean of both directions. Without duplicates this is the published loss.
    """
    own = torch.eye(len(similarity), dtype=torch.bool, device=similarity.device)
    logits = similarity.masked_fill(same & ~own, -torch.inf)
    target = torch.arange(len(similarity), device=similarity.device)
    return (F.cross_entropy(logits, target) + F.cross_entropy(logits.t(), target)) / 2


def multi_positive_loss(similarity: Tensor, positive: Tensor) -> Tensor:
    """Symmetric cross-entropy against uniform targets over all positives (fine-tuned retrieval).

    Args:
        similarity: [R, R] image x text cosines divided by the temperature.
        positive: [R, R] bool, True where picture and text belong together; at least one per row and column.
    """
    target = positive.float()
    by_image = F.cross_entropy(similarity, target / target.sum(1, keepdim=True))
    return (by_image + F.cross_entropy(similarity.t(), target.t() / target.t().sum(1, keepdim=True))) / 2
