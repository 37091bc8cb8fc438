"""Scaled dot-product attention, computed by what the device does well, and dropout.

Both ways give the same numbers but for rounding (tests compare them; in bfloat16 plain scores are rounded,
too): the fused kernel on GPUs, and on a CPU in inference; plain matrix products where a backward pass runs on
a CPU, because the fused backward is slower there, and in inference in bfloat16, for which the fused kernel is
slow, too. With dropout a CPU has
plain products alone: a step in parts draws the same numbers with and without gradients (GradCache).
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MASKED = -1e9  # a masked score; underflows to exactly zero after the softmax
_MOST = 2**28
"""Bytes of scores, and of their softmax, in inference: more go through the fused kernel, which holds none."""


def attend(
    query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None, dropout: float = 0.0
) -> Tensor:
    """Softmax(query key^T / sqrt(d) + bias) value: query [B, H, Q, d], key and value [B, H, K, d] -> [B,
    H, Q, d] of the queries' dtype; bias broadcastable to [B, H, Q, K]; `dropout` drops attention weights."""
    plain = torch.is_grad_enabled() or dropout > 0
    slow = query.is_cpu and query.dtype is torch.bfloat16  # for the fused kernel, without AMX
    if not plain and slow and not (torch.cpu._is_amx_tile_supported() or torch.compiler.is_compiling()):
        plain = query.numel() // query.shape[-1] * key.shape[-2] * query.itemsize <= _MOST
    if query.is_cuda or not plain:
        bias = None if bias is None else bias.to(query.dtype)
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias, dropout_p=dropout)
    return attend_plain(query, key, value, bias, dropout)


def attend_plain(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, rate: float) -> Tensor:
    """`attend` as three matrix operations."""
    with torch.autocast(query.device.type, enabled=False):  # it would run the softmax in a slower float32
        scale, keys = query.shape[-1] ** -0.5, key.transpose(-1, -2)
        if bias is None or query.dtype is torch.float16:  # whose largest number unscaled scores would pass
            scores = torch.matmul(query * scale, keys)  # [B, H, Q, K]
            scores = scores if bias is None else scores + bias.to(scores.dtype)
        else:  # scaled while the bias is added: no scaled queries are kept beside the queries
            scores = torch.add(bias.to(query.dtype), torch.matmul(query, keys), alpha=scale)
        weights = torch.softmax(scores, dim=-1)
        return torch.matmul(dropout(weights, rate), value)


def split_heads(states: Tensor, heads: int) -> Tensor:
    """[B, L, H * d] -> [B, H, L, d]."""
    batch, length, width = states.shape
    return states.view(batch, length, heads, width // heads).transpose(1, 2)


def split_all(states: Tensor, heads: int, count: int) -> tuple[Tensor, ...]:
    """[B, L, count * H * d], such as queries, keys and values -> [B, H, L, d] each; on a CPU copied at
    once, because matrix products would copy each part."""
    batch, length, width = states.shape
    parts = states.view(batch, length, count, heads, width // count // heads).permute(2, 0, 3, 1, 4)
    return (parts if states.is_cuda else parts.contiguous()).unbind(0)


def join_heads(states: Tensor) -> Tensor:
    """[B, H, L, d] -> [B, L, H * d]."""
    batch, heads, length, width = states.shape
    return states.transpose(1, 2).reshape(batch, length, heads * width)


def padding_bias(mask: Tensor) -> Tensor:
    """[B, K] bool, True at visible keys -> [B, 1, 1, K] float32 to add to scores."""
    return torch.zeros(mask.shape, device=mask.device).masked_fill_(~mask, MASKED)[:, None, None, :]


_STEPS = 2**16
"""A number is dropped by 16 random bits: four numbers a draw of 64."""


def dropout(states: Tensor, rate: float) -> Tensor:
    """Dropout; on a CPU with masks of 16 random bits, a fifth of torch's drawing time and one byte a
    number kept for the backward pass. The rate is then rounded to 1 / 65536."""
    if rate == 0:
        return states
    if rate == 1 or states.device.type != "cpu" or torch.compiler.is_compiling():
        return F.dropout(states, rate)
    return _Dropped.apply(states, min(round(rate * _STEPS), _STEPS - 1))


class _Dropped(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, dropped: int) -> Tensor:
        draws = torch.empty(-(-states.numel() // 4), dtype=torch.int64)
        draws.random_(torch.iinfo(torch.int64).min, None)
        kept = (draws.view(torch.int16)[: states.numel()] >= dropped - _STEPS // 2).view(states.shape)
        ctx.scale = _STEPS / (_STEPS - dropped)
        ctx.save_for_backward(kept)
        return kept.to(states.dtype).mul_(ctx.scale).mul_(states)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return kept.to(grads[0].dtype).mul_(ctx.scale).mul_(grads[0]), None


class Dropout(nn.Module):
    """`dropout` in training, nothing in evaluation."""

    def __init__(self, rate: float) -> None:
        super().__init__()
        if not 0 <= rate <= 1:
            raise ValueError(f"the rate of dropout is {rate}: it must be from 0 to 1")
        self.rate = rate

    def forward(self, states: Tensor) -> Tensor:
        """Any shape -> the same."""
        return dropout(states, self.rate) if self.training else states
