"""MLM and IMLM: cross-entropy of masked tokens (paper section 3.2)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from xfm.data.schema import MaskedTokens

IGNORED = -100


def masked_token_loss(
    states: Tensor, masked: MaskedTokens, logits: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the masked tokens; only they go through the head.

    MLM gives the states of the language encoder, IMLM those of the fusion encoder, which saw the unmasked
    picture.

    Args:
        states: [R, T, D] states of the masked text.
        masked: positions and labels.
        logits: the token head, [N, D] -> [N, V].

    Returns:
        The mean over masked tokens (0 without any) and the share predicted right.
    """
    rows, slots = masked.labels.ne(IGNORED).nonzero(as_tuple=True)
    labels = masked.labels[rows, slots]
    predicted = logits(states[rows, masked.positions[rows, slots]]).float()  # [N, V]
    loss = F.cross_entropy(predicted, labels, reduction="sum") / max(len(labels), 1)
    right = (predicted.detach().argmax(-1) == labels).float().sum() / max(len(labels), 1)
    return loss, right
