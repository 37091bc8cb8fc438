"""Cross-entropy of tokens: masked ones (MLM, IMLM: paper section 3.2), and next ones (answers, captions)."""

from collections.abc import Callable

import torch.nn.functional as F
from torch import Tensor

from xfm.data.schema import MaskedTokens, Tokens
from xfm.models.precision import at_least_float32

IGNORED = -100
COUNT_STEP = 64
"""The head takes a multiple of this many tokens, so that few shapes occur: kernels are built per shape."""


def _masked_places(masked: MaskedTokens) -> Tensor:
    """[N] int64, see `MaskedTokens.places`."""
    if masked.places is not None:
        return masked.places
    return masked.labels.flatten().ne(IGNORED).nonzero().squeeze(1)


def masked_token_loss(
    states: Tensor, masked: MaskedTokens, logits: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of the masked tokens of states [R, T, D] (0 without any), and the accuracy; only
    masked tokens go through the head `logits`, [N, D] -> [N, V]."""
    places = _masked_places(masked)
    count = len(places)
    places = F.pad(places, (0, -count % COUNT_STEP))
    labels = masked.labels.flatten()[places]
    labels[count:] = IGNORED
    rows, slots = places // masked.labels.shape[1], masked.positions.flatten()[places]
    predicted = at_least_float32(logits(states[rows, slots]))  # [N, V]
    loss = F.cross_entropy(predicted, labels, reduction="sum", ignore_index=IGNORED) / max(count, 1)
    right = (predicted.detach().argmax(-1) == labels).float().sum() / max(count, 1)
    return loss, right


def sequence_losses(logits: Tensor, tokens: Tokens) -> Tensor:
    """[N] float32 cross-entropy of each sequence's tokens after the first, summed; logits [N, L, V] at l
    predict token l + 1."""
    targets = tokens.ids[:, 1:].masked_fill(~tokens.mask[:, 1:], IGNORED)
    predicted = logits[:, : targets.shape[1]].float().transpose(1, 2)  # [N, V, L - 1]
    return F.cross_entropy(predicted, targets, ignore_index=IGNORED, reduction="none").sum(1)


def smoothed_losses(
    logits: Tensor, tokens: Tokens, smoothing: float, given: int = 0
) -> tuple[Tensor, Tensor]:
    """Mean label-smoothed cross-entropy of the tokens after the first and a prompt of `given` tokens, by
    logits [N, L, V], and the accuracy."""
    targets = tokens.ids[:, 1:].masked_fill(~tokens.mask[:, 1:], IGNORED)  # [N, L - 1]
    targets[:, :given] = IGNORED
    predicted = logits[:, : targets.shape[1]].float()
    loss = F.cross_entropy(
        predicted.transpose(1, 2), targets, ignore_index=IGNORED, label_smoothing=smoothing
    )
    real = targets.ne(IGNORED)
    return loss, predicted.detach().argmax(-1).eq(targets)[real].float().mean()
