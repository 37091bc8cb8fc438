"""Tensors from safetensors files into modules, without a second copy of either."""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from xfm.core.errors import UserError
from xfm.models.safetensors_header import opened, tensor_shapes

_SMALL = "F4", "F6_E2M3", "F6_E3M2"


def read_tensors(path: Path, prefix: str = "") -> dict[str, Tensor]:
    """Tensors of a safetensors file by name, in memory of their own, so that the file may change; with
    `prefix` only those names, without it. A UserError where damaged or of an unknown dtype."""
    with opened(path, "pt") as file:
        names = [name for name in file.keys() if name.startswith(prefix)]  # noqa: SIM118
        if small := [name for name in names if file.get_slice(name).get_dtype() in _SMALL]:
            raise UserError(f"{path}: {small[0]} has less than eight bits: save it as float16")
        return {name.removeprefix(prefix): file.get_tensor(name).clone() for name in names}


def require_same(path: Path, own: Mapping[str, Tensor], described: str) -> None:
    """A UserError, before any tensor is read, for a file whose names or shapes differ from `own`'s;
    `described` names the file that says them."""
    stored = tensor_shapes(path)
    if differing := sorted(stored.keys() ^ own.keys()):
        missing = sum(name in own for name in differing)
        raise UserError(
            f"{path} does not fit {described}: {missing} tensors are missing and {len(differing) - missing} "
            f"are unknown (first: {differing[0]}); use the files of one save"
        )
    for name, tensor in own.items():
        if list(tensor.shape) != stored[name]:
            raise UserError(
                f"{path}: {name} has shape {stored[name]}, but {described} says {list(tensor.shape)}; "
                "use the files of one save"
            )


def require_finite(path: Path, state: Mapping[str, Tensor]) -> None:
    """A UserError for weights that are infinite or NaN, naming the first."""
    for name, tensor in state.items():
        if not tensor.is_floating_point() or not tensor.numel():
            continue
        values = tensor.float() if tensor.element_size() == 1 else tensor  # torch orders no float8
        # The least and the greatest take no memory, unlike a mask of those that are finite.
        if not torch.stack(values.aminmax()).isfinite().all():
            raise UserError(
                f"{path}: {name} holds values that are infinite or no numbers; the file is damaged or its "
                "training diverged: take another copy, or an earlier checkpoint"
            )


def write_tensors(path: Path, state: Mapping[str, Tensor], half: bool = False) -> None:
    """Write a safetensors file, `half` float32 as float16 (ValueError on overflow); a full disk is a
    SafetensorError or an OSError."""
    stored = {name: tensor.detach().contiguous().cpu() for name, tensor in state.items()}
    for name, tensor in stored.items() if half else ():
        if tensor.dtype is torch.float32:
            stored[name] = tensor.half()
            if not stored[name].isfinite().all():
                raise ValueError(f"{name} holds numbers that are too large for float16")
    path.touch()
    mode = path.stat().st_mode  # the library's own file is for its owner alone
    save_file(stored, path, metadata={"format": "pt"})
    path.chmod(mode)


def on_cpu(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors by name, without gradient on the CPU."""
    return {name: tensor.detach().cpu() for name, tensor in state.items()}


_BUILDING = threading.Lock()
_IN_PLACE = frozenset(
    {"normal_", "uniform_", "zero_", "fill_", "erfinv_", "clamp_", "div_", "mul_", "add_", "sub_", "copy_"}
)


class SkipInitMode(TorchFunctionMode):
    """Leaves out initialisation of meta tensors, for which torch would import its compiler and a thousand
    modules."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = kwargs or {}
        if getattr(func, "__name__", "") in _IN_PLACE:
            changed = args[0] if args else given.get("tensor")
            if isinstance(changed, Tensor) and changed.is_meta:
                return changed
        return func(*args, **given)


@contextmanager
def without_weights() -> Iterator[None]:
    """Modules built inside have parameters without memory, to be loaded with `assign`; buffers are
    computed. Other threads are not concerned."""
    here = threading.get_ident()

    def on_meta(self: nn.Module, name: str, param: nn.Parameter | None) -> None:
        if param is not None and not param.is_meta and threading.get_ident() == here:
            param = nn.Parameter(param.detach().to("meta"), param.requires_grad)
        register(self, name, param)

    with _BUILDING, SkipInitMode():
        register = nn.Module.register_parameter  # a thread that waited would have read the other one's
        nn.Module.register_parameter = on_meta
        try:
            yield
        finally:
            nn.Module.register_parameter = register
