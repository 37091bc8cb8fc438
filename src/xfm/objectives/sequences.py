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
