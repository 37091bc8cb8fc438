"""MIM guided by vision and language: the target is the encoder's own unmasked pass (paper section 3.2)."""

from torch import Tensor


def mim_loss(predicted: Tensor, target: Tensor, patch_mask: Tensor, slot0: bool = True) -> Tensor:
    """Mean squared error on the masked patches, plus the same for slot 0, weights 1:1.

    Args:
        predicted: [B, 1 + P, D] output for the masked picture.
        target: [B, 1 + P, D] output of the same encoder for the unmasked picture; no gradient flows into it.
        patch_mask: [B, P] bool, True at masked patches.
        slot0: include the term of slot 0.
    """
    error = (predicted - target.detach()).float().square()
    weight = patch_mask.unsqueeze(-1).to(error.dtype)
    loss = (error[:, 1:] * weight).sum() / (weight.sum() * error.shape[-1]).clamp(min=1)
    return loss + error[:, 0].mean() if slot0 else loss
