"""Fixed positions: sines and cosines of coordinates, which hold no weights."""

import math

import torch
from torch import Tensor, nn


def sine_table(length: int, channels: int, longest: float) -> Tensor:
    """Sines and cosines of 0.5, 1.5, ... at wavelengths that run geometrically from 2 to `longest`.

    Returns:
        [length, channels] float32 in [-1, 1]; half of the channels are sines.
    """
    wavelengths = torch.logspace(math.log10(2.0), math.log10(longest), channels // 2)
    angles = (torch.arange(length) + 0.5)[:, None] * (2 * math.pi / wavelengths)
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def fix(module: nn.Module, name: str, table: Tensor | None, like: Tensor) -> None:
    """Give a module a buffer that no file of weights holds, where one of its parameters is.

    Args:
        module: the module.
        name: of the buffer.
        table: on the CPU; None for no buffer.
        like: the parameter. One without memory gets its tensor later; buffers are whole from the start.
    """
    device = torch.get_default_device() if like.is_meta else like.device
    if table is not None:
        table = table.to(device, like.dtype if table.is_floating_point() else None)
    module.register_buffer(name, table, persistent=False)
