"""Dropout of numbers, and drop path of whole samples' residual branches."""

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

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
        kept, ctx.scale = _kept(states, dropped), _STEPS / (_STEPS - dropped)
        ctx.save_for_backward(kept)
        return _only(states, kept, ctx.scale)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        (kept,) = ctx.saved_tensors
        return _only(grads[0], kept, ctx.scale), None


def _kept(states: Tensor, dropped: int) -> Tensor:
    draws = torch.empty(-(-states.numel() // 4), dtype=torch.int64)
    draws.random_(torch.iinfo(torch.int64).min, None)
    return (draws.view(torch.int16)[: states.numel()] >= dropped - _STEPS // 2).view(states.shape)


def _only(states: Tensor, kept: Tensor, scale: float) -> Tensor:
    return kept.to(states.dtype).mul_(scale).mul_(states)


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


class DropPath(nn.Module):
    """Residual branches dropped a sample at a time, else scaled. A CPU computes the kept samples alone; a
    GPU, which would have to wait for their number, computes all."""

    def __init__(self, rate: float = 0.0) -> None:
        super().__init__()
        self.rate = rate

    def forward(self, states: Tensor, branch: Callable[[Tensor], Tensor]) -> Tensor:
        """[B, ...] and a function of some of its rows, each by itself -> [B, ...] their sum."""
        if not self.training or self.rate == 0:
            return states + branch(states)
        keep = torch.rand(len(states), device=states.device) >= self.rate
        if states.is_cpu and not torch.compiler.is_compiling():
            return _added(states, keep.nonzero()[:, 0], branch, 1 / (1 - self.rate))
        added = branch(states)
        return states + added * keep.to(added.dtype).view(-1, *[1] * (added.ndim - 1)) / (1 - self.rate)


def _added(states: Tensor, rows: Tensor, branch: Callable[[Tensor], Tensor], scale: float) -> Tensor:
    if len(rows) == len(states):
        return torch.add(states, branch(states), alpha=scale)
    added = branch(states.index_select(0, rows))
    dtype = torch.promote_types(states.dtype, added.dtype)
    return states.to(dtype).index_add(0, rows, added.to(dtype), alpha=scale)
