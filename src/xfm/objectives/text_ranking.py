"""Ranking of texts: each anchor's positive among the batch's candidates (InfoNCE, arXiv 1807.03748), with
hard negatives as in sentence-transformers' MultipleNegativesRankingLoss."""

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.objectives.global_batch import Gather
from xfm.objectives.losses import LossDict


def contrasted(similarity: Tensor, own: Tensor, left_out: Tensor) -> Tensor:
    """[R, C] logits in which candidates `left_out` [R, C] leave the denominators, but for each anchor's
    `own` [R]."""
    return similarity.masked_fill(left_out.scatter(1, own[:, None], False), -torch.inf)


def no_negatives(anchors: Tensor, pairs: tuple[Tensor, Tensor], candidates: Tensor) -> Tensor:
    """[R, C] bool: candidates [C] that are no negatives of anchors [R], being positives of equal anchors
    (`pairs` [N], [N] of the batch) or the anchor's own text."""
    equal = anchors[:, None] == pairs[0]  # [R, N]
    positive = pairs[1][:, None] == candidates  # [N, C]
    return ((equal.float() @ positive.float()) > 0) | (anchors[:, None] == candidates)


def text_ranking_losses(
    anchors: Tensor,
    candidates: Tensor,
    identities: tuple[Tensor, Tensor],
    temperature: Tensor,
    gather: Gather,
    before: int = 0,
) -> LossDict:
    """Loss of anchors [R, E] among candidates [R + N, E] (positives in order, then hard negatives) of all
    processes; the anchor-weighted mean over processes is the global loss.

    `identities` [R] and [R + N] are equal for equal texts; `before` counts candidates of earlier processes.
    """
    rows = len(anchors)
    everything, said = gather(candidates), gather(identities[1])
    pairs = gather(identities[0]), gather(identities[1][:rows])
    own = torch.arange(before, before + rows, device=anchors.device)
    left_out = no_negatives(identities[0], pairs, said)
    with torch.autocast(anchors.device.type, enabled=False):  # cosines over a small temperature want float32
        logits = contrasted(anchors @ everything.t() / temperature, own, left_out)
        loss = F.cross_entropy(logits, own)
    right = (logits.detach().argmax(1) == own).float().mean()
    return LossDict({"ranking": loss}, {"ranking_accuracy": right})
