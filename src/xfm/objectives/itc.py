"""ITC: image-text contrast with a learned temperature (paper section 3.2)."""

import torch
import torch.nn.functional as F
from torch import Tensor


def rows_loss(similarity: Tensor, same: Tensor, own: Tensor) -> Tensor:
    """Cross-entropy of some rows against their own columns: one direction of the contrast.

    Args:
        similarity: [R, N] cosines divided by the temperature, of R of the batch's N rows with all N.
        same: [R, N] bool from `same_identity`; pairs that are neither positives nor negatives, but for `own`.
        own: [R] int64, the column that belongs to each row.

    Returns:
        The mean over the R rows.
    """
    return F.cross_entropy(similarity.masked_fill(same.scatter(1, own[:, None], False), -torch.inf), own)


def contrastive_loss(similarity: Tensor, same: Tensor) -> Tensor:
    """Symmetric cross-entropy against the diagonal; duplicates are neither positives nor negatives.

    Args:
        similarity: [R, R] image x text cosines divided by the temperature.
        same: [R, R] bool from `same_identity`; its off-diagonal pairs leave the denominators.

    Returns:
        The mean of both directions. Without duplicates this is the published loss.
    """
    own = torch.arange(len(similarity), device=similarity.device)
    return (rows_loss(similarity, same, own) + rows_loss(similarity.t(), same, own)) / 2


def multi_positive_loss(similarity: Tensor, positive: Tensor) -> Tensor:
    """Symmetric cross-entropy against uniform targets over all positives (fine-tuned retrieval).

    Args:
        similarity: [R, R] image x text cosines divided by the temperature.
        positive: [R, R] bool, True where picture and text belong together; at least one per row and column.
    """
    target = positive.float()
    by_image = F.cross_entropy(similarity, target / target.sum(1, keepdim=True))
    return (by_image + F.cross_entropy(similarity.t(), target.t() / target.t().sum(1, keepdim=True))) / 2
