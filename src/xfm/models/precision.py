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
    """Whether bf16 matrix products are in hardware on `device` and, on a CPU, measurably faster than fp32's.

    A CPU's flags do not tell: with AMX bf16 is several times as fast, with AVX512-BF16 alone half as fast.
    """
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return device.type == "cpu" and _cpu_gain() >= WORTHWHILE_GAIN


@functools.cache
def _cpu_gain(side: int = 512, repeats: int = 7, least: int = 4, most: int = 60) -> float:
    """Time of a product in fp32 over its time in bf16, best of many alternations, once a process.

    Other programs make products slower, never faster. So they alternate `repeats` times, `least` times over
    and until that finds neither faster: no run has another arithmetic because something else ran as it began.
    """
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
    """Keep matrices in the arithmetic of inference, which would convert them anew in every pass.

    The numbers stay those of `autocast`, and the matrices take half of the memory. It cannot be undone.

    Args:
        parts: encoders and decoders; heads are computed in float32.
        precision: of the passes.
        device: where they run.
    """
    if resolve(precision, device) is Precision.BF16:
        for part in (module for held in parts for module in held.modules()):
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.to(torch.bfloat16)


def working_dtype(states: Tensor) -> Tensor:
    """The states in the dtype of the matrix products, so that no layer converts them back and forth."""
    device = states.device.type
    return states.to(torch.get_autocast_dtype(device)) if torch.is_autocast_enabled(device) else states


def at_least_float32(states: Tensor) -> Tensor:
    """The states in float32, or as they are in float64: what heads and losses compute in."""
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
