"""Arithmetic of the forward pass: bf16 where the device is good at it."""

import contextlib
from contextlib import AbstractContextManager

import torch
from torch import Tensor

from xfm.config.training import Precision


def bf16_is_fast(device: torch.device) -> bool:
    """Whether bf16 matrix products run in hardware on `device`."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and torch.ops.mkldnn._is_mkldnn_bf16_supported()


def working_dtype(states: Tensor) -> Tensor:
    """The states in the dtype of the matrix products, so that no layer converts them back and forth."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else states


def autocast(precision: Precision, device: torch.device | str) -> AbstractContextManager[object]:
    """A context in which matrix products run in the wanted precision."""
    device = torch.device(device)
    wants_bf16 = precision is Precision.BF16 or (precision is Precision.AUTO and bf16_is_fast(device))
    return torch.autocast(device.type, dtype=torch.bfloat16) if wants_bf16 else contextlib.nullcontext()
