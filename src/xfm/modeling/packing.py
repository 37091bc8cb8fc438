"""Texts of different lengths without their padding.

Half of a batch's places are padding. In training on a CPU everything that treats each token by itself
(linear layers, norms, activations) leaves it out; only attention sees the padded batch. Both ways give the
same numbers at real tokens (a test compares them). Padding is computed in evaluation mode, as the published
model does, and on a GPU, where changing shapes cost more than it does.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

SIZE_STEP = 64
"""Packed tokens are filled up to a multiple of this: kernels are built per shape, so few should occur."""

LEAST_PADDING = 0.1
"""Share of padding from which packing pays."""


class Layout(Protocol):
    """How the states of R texts of T tokens lie between attentions."""

    def pack(self, states: Tensor) -> Tensor:
        """[R, T, D] -> the layout's shape."""
        ...

    def unpack(self, states: Tensor) -> Tensor:
        """Undoes `pack`, up to padding, which then means nothing."""
        ...


class Padded(Layout):
    """States stay [R, T, D]."""

    def pack(self, states: Tensor) -> Tensor:
        """[R, T, D] -> the same."""
        return states

    def unpack(self, states: Tensor) -> Tensor:
        """[R, T, D] -> the same."""
        return states


PADDED = Padded()


@dataclass(frozen=True)
class Packed(Layout):
    """States are [N, D]: the real tokens, then at least one spare row that stands for all padding.

    Attributes:
        place: [N] int64 into the R x T places; spare rows take the place 0.
        row: [R * T] int64 into the N rows; padding takes the last one.
        tokens: number of real tokens, below N.
        texts, length: R and T.
    """

    place: Tensor
    row: Tensor
    tokens: int
    texts: int
    length: int

    def pack(self, states: Tensor) -> Tensor:
        """[R, T, D] -> [N, D]."""
        return _Select.apply(states.reshape(self.texts * self.length, -1), self.place, self.row, None)

    def unpack(self, states: Tensor) -> Tensor:
        """[N, D] -> [R, T, D]."""
        places = _Select.apply(states, self.row, self.place, self.tokens)
        return places.view(self.texts, self.length, -1)


class _Select(torch.autograd.Function):
    """Rows by index, with a backward pass that selects too: adding up by index is many times slower on a CPU.

    Spare rows get no gradient, so that padding, which points to one, gets none either.
    """

    @staticmethod
    def forward(ctx: Any, rows: Tensor, index: Tensor, back: Tensor, real: int | None) -> Tensor:
        ctx.save_for_backward(back)
        ctx.real = real
        return rows.index_select(0, index)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (back,) = ctx.saved_tensors
        gradient = gradients[0].index_select(0, back)
        if ctx.real is not None:
            gradient[ctx.real :] = 0
        return gradient, None, None, None


def lay_out(mask: Tensor, training: bool) -> Layout:
    """The layout for texts with the mask [R, T] (True at real tokens)."""
    if not training or mask.is_cuda or mask.float().mean() > 1 - LEAST_PADDING:
        return PADDED
    return pack_texts(mask)


def pack_texts(mask: Tensor) -> Packed:
    """`Packed` for any mask [R, T]."""
    real = mask.flatten().nonzero().squeeze(1)
    tokens = len(real)
    size = (tokens // SIZE_STEP + 1) * SIZE_STEP  # never full: the last row is spare
    place = real.new_zeros(size)
    place[:tokens] = real
    row = real.new_full((mask.numel(),), size - 1)
    row[real] = torch.arange(tokens, device=mask.device)
    return Packed(place, row, tokens, *mask.shape)
