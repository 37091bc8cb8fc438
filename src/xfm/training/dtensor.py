"""Tensors of which each process may hold a part (FSDP2's): read whole, and filled from whole ones."""

from typing import Any

import torch
from torch import Tensor


def whole(tensor: Tensor) -> Tensor:
    """The whole tensor. Of one that lies in parts, every process must ask at the same place."""
    full: Any = getattr(tensor, "full_tensor", None)
    return tensor if full is None else full()


@torch.no_grad()
def fill(tensor: Tensor, values: Tensor) -> None:
    """Copy the values of a whole tensor into one that may lie in parts."""
    tensor.copy_(part_like(values, tensor))


def part_like(values: Tensor, like: Tensor) -> Tensor:
    """This process's part of a whole tensor, in a tensor that lies as another one of the same shape does."""
    mesh: Any = getattr(like, "device_mesh", None)
    if mesh is None or values.shape != like.shape:
        return values
    from torch.distributed.tensor import distribute_tensor

    placements: Any = getattr(like, "placements", None)
    # Every process has read the same file: nothing need be sent.
    return distribute_tensor(values.to(like.device), mesh, placements, src_data_rank=None)
