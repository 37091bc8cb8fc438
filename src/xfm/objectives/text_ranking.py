"""Ranking of texts: each anchor's own positive among the candidates of the batch (InfoNCE, arXiv 1807.03748).

Hard negatives stand among the candidates, as in sentence-transformers' MultipleNegativesRankingLoss.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from xfm.objectives.global_batch import Gather
from xfm.objectives.losses import LossDict


def contrasted(similarity: Tensor, own: Tensor, left_out: Tensor) -> Tensor:
    """[R, C] logits of which candidate is each anchor's own: what else is right leaves the denominators.

    Args:
        similarity: [R, C] anchor x candidate cosines divided by the temperature.
        own: [R] int64, the place of each anchor's own positive.
        left_out: [R, C] bool from `no_negatives`.
    """
    return similarity.masked_fill(left_out.scatter(1, own[:, None], False), -torch.inf)


def no_negatives(anchors: Tensor, pairs: tuple[Tensor, Tensor], candidates: Tensor) -> Tensor:
    """Candidates that must not be negatives of an anchor, by the identities of texts.

    They are the positives of all anchors that are equal to it, and the anchor's own text.

    Args:
        anchors: [R] int64.
        pairs: [N] int64 anchors and [N] int64 their positives, of the whole batch.
        candidates: [C] int64.

    Returns:
        [R, C] bool.
    """
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
    """The loss of this process's anchors among the candidates of all processes.

    The mean of the processes' losses, weighed by their anchors, is the loss of the whole batch.

    Args:
        anchors: [R, E] unit vectors.
        candidates: [R + N, E] unit vectors: the positives in the order of the anchors, then hard negatives.
        identities: [R] and [R + N] int64, equal for equal texts.
        temperature: of the contrast.
        gather: concatenates a tensor over all processes, with gradient.
        before: candidates of the processes before this one.
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
