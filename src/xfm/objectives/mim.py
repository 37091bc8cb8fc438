"""MIM: guided, toward the encoder's own unmasked pass (paper section 3.2), or toward pixels."""

import torch
from torch import Tensor

from xfm.modeling.precision import at_least_float32


def mim_loss(
    predicted: Tensor,
    target: Tensor,
    patch_mask: Tensor,
    slot0: bool = True,
    factors: tuple[float, float] = (1.0, 1.0),
) -> Tensor:
    """Mean squared error on the masked patches, plus the same for slot 0, weights 1:1.

    Args:
        predicted: [B, 1 + P, D] output for the masked picture.
        target: [B, 1 + P, D] output of the same encoder for the unmasked picture; no gradient flows into it.
        patch_mask: [B, P] bool, True at masked patches.
        slot0: include the term of slot 0.
        factors: what the two means count for, over patches and over pictures.
    """
    error = at_least_float32(predicted - target.detach()).square()
    weight = patch_mask.unsqueeze(-1).to(error.dtype)
    loss = (error[:, 1:] * weight).sum() / (weight.sum() * error.shape[-1]).clamp(min=1)
    loss = loss * factors[0]
    return loss + error[:, 0].mean() * factors[1] if slot0 else loss


def patch_pixels(pixels: Tensor, size: int) -> Tensor:
    """Patches as vectors of pixels, each of mean 0 and deviation 1.

    Args:
        pixels: [B, 3, H, W].
        size: side of a patch in pixels; divides H and W.

    Returns:
        [B, P, 3 * size * size] float32, the patches row by row.
    """
    batch, channels, height, width = pixels.shape
    cut = pixels.float().view(batch, channels, height // size, size, width // size, size)
    flat = cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * size * size)
    variance, mean = torch.var_mean(flat, dim=-1, keepdim=True)
    return (flat - mean) / (variance + 1e-6).sqrt()


def pixel_loss(predicted: Tensor, pixels: Tensor, patch_mask: Tensor, size: int) -> Tensor:
    """Mean squared error on the normalised pixels of the masked patches: MIM without guidance.

    Args:
        predicted: [B, P, 3 * size * size].
        pixels: [B, 3, H, W], the whole picture.
        patch_mask: [B, P] bool, True at masked patches.
        size: side of a patch in pixels.

    Source: He et al. (2021), "Masked autoencoders are scalable vision learners", section 3.
    """
    error = (predicted.float() - patch_pixels(pixels, size)).square().mean(-1)
    return (error * patch_mask).sum() / patch_mask.sum().clamp(min=1)
