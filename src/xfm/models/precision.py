"""Arithmetic of the forward pass: bf16 where the device is good at it."""

import contextlib
import functools
import time
from collections.abc import Iterable
from contextlib import AbstractContextManager

import torch
from torch import Tensor, nn

from xfm.config.training import Precision

WORTHWHILE_GAIN = 1.3
"""Below this, bf16's rounding and conversions cost more than its products save."""


def bf16_is_fast(device: torch.device) -> bool:
    """Whether bf16 products are in hardware and, on a CPU, measurably faster: its flags do not tell."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_gain() >= WORTHWHILE_GAIN


@functools.cache
def _cpu_gain(side: int = 512, repeats: int = 7, least: int = 4, most: int = 60) -> float:
    """Time of an fp32 product over bf16's, best of alternations, once a process: other programs only slow
    products down, so rounds go on until neither gets faster."""
    if not torch.ops.mkldnn._is_mkldnn_bf16_supported():
        return 0.0
    best = dict.fromkeys((torch.float32, torch.bfloat16), float("inf"))
    factors = {dtype: torch.ones(side, side, dtype=dtype) for dtype in best}
    with torch.inference_mode(), torch.autocast("cpu", enabled=False):
        for number in range(most):
            before = dict(best)
            for _ in range(repeats):
                for dtype, factor in factors.items():
                    began = time.perf_counter()
                    torch.mm(factor, factor)
                    best[dtype] = min(best[dtype], time.perf_counter() - began)
            if number + 1 >= least and all(best[dtype] > 0.98 * before[dtype] for dtype in best):
                break
    return best[torch.float32] / best[torch.bfloat16]


def hold(parts: Iterable[nn.Module], precision: Precision, device: torch.device | str) -> None:
    """Convert matrices of encoders and decoders to the arithmetic of inference once, at half the memory;
    numbers stay those of `autocast`. It cannot be undone."""
    if resolve(precision, device) is Precision.BF16:
        for part in (module for held in parts for module in held.modules()):
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.to(torch.bfloat16)


def working_dtype(states: Tensor) -> Tensor:
    """States in the dtype of matrix products, so that no layer converts them."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else states


def at_least_float32(states: Tensor) -> Tensor:
    """States in float32, or float64 as they are: the dtype of heads and losses."""
    return states.to(torch.promote_types(states.dtype, torch.float32))


def resolve(precision: Precision, device: torch.device | str) -> Precision:
    """The precision with `auto` decided for the device."""
    if precision is not Precision.AUTO:
        return precision
    return Precision.BF16 if bf16_is_fast(torch.device(device)) else Precision.FP32


def autocast(precision: Precision, device: torch.device | str) -> AbstractContextManager[object]:
    """A context in which matrix products run in the wanted precision."""
    device = torch.device(device)
    if resolve(precision, device) is Precision.BF16:
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return contextlib.nullcontext()
