"""Next-token losses of answers and captions (spec: VQA v2, captioning)."""

import torch.nn.functional as F
from torch import Tensor

from xfm.data.schema import Tokens
from xfm.objectives.tokens import IGNORED


def sequence_losses(logits: Tensor, tokens: Tokens) -> Tensor:
    """Cross-entropy of each sequence's tokens after the first, summed; padding does not count.

    Args:
        logits: [N, L, V] or [N, L - 1, V]; position l predicts token l + 1.
        tokens: [N, L].

    Returns:
        [N] float32.
    """
    targets = tokens.ids[:, 1:].masked_fill(~tokens.mask[:, 1:], IGNORED)
    predicted = logits[:, : targets.shape[1]].float().transpose(1, 2)  # [N, V, L - 1]
    return F.cross_entropy(predicted, targets, ignore_index=IGNORED, reduction="none").sum(1)


def smoothed_losses(
    logits: Tensor, tokens: Tokens, smoothing: float, given: int = 0
) -> tuple[Tensor, Tensor]:
    """Cross-entropy with label smoothing of the tokens after the first, averaged over all of them.

    Args:
        logits: [N, L, V] or [N, L - 1, V]; position l predicts token l + 1.
        tokens: [N, L].
        smoothing: share of the target that is spread evenly over the vocabulary.
        given: so many tokens after the first are not predicted: a prompt.

    Returns:
        The mean, and the share of the tokens that were predicted, without gradient.
    """
    targets = tokens.ids[:, 1:].masked_fill(~tokens.mask[:, 1:], IGNORED)  # [N, L - 1]
    targets[:, :given] = IGNORED
    predicted = logits[:, : targets.shape[1]].float()
    loss = F.cross_entropy(
        predicted.transpose(1, 2), targets, ignore_index=IGNORED, label_smoothing=smoothing
    )
    real = targets.ne(IGNORED)
    return loss, predicted.detach().argmax(-1).eq(targets)[real].float().mean()
