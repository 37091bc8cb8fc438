"""AdamW with decay groups and a multiplier for new parts; warm-up and linear decay."""

import re
from collections.abc import Callable

import torch
from torch import Tensor, nn

from xfm.config.training import OptimConfig

_TABLE = re.compile(r"(^|\.)(positions?|pos_embed|position_embeddings?|relative_position\w*)(\.weight)?$")


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: matrices and filters, but no vector, scalar or table of positions.

    Args:
        name: the parameter's name in its model, `language.embeddings.positions.weight`.
        parameter: the parameter, any shape.
    """
    return parameter.ndim >= 2 and parameter.numel() > max(parameter.shape) and not _TABLE.search(name)


def parameter_groups(
    model: nn.Module, config: OptimConfig, is_new: Callable[[str], bool] = lambda name: False
) -> list[dict[str, object]]:
    """Groups for torch's optimisers: decayed or not, by known or new parts.

    Args:
        model: frozen parameters (`requires_grad` False) are left out.
        config: weight decay and multiplier.
        is_new: whether the parameter of that name learns at `new_lr_multiplier` times the rate.

    Returns:
        At most four groups, each with `params`, `names`, `weight_decay` and `lr_scale`.
    """
    groups: dict[tuple[bool, bool], dict[str, object]] = {}
    members: dict[tuple[bool, bool], list[tuple[str, Tensor]]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            members.setdefault((is_decayed(name, parameter), is_new(name)), []).append((name, parameter))
    for (decayed, new), named in sorted(members.items()):
        groups[decayed, new] = {
            "params": [parameter for _, parameter in named],
            "names": [name for name, _ in named],
            "weight_decay": config.weight_decay if decayed else 0.0,
            "lr_scale": config.new_lr_multiplier if new else 1.0,
        }
    return list(groups.values())


def build_optimizer(
    model: nn.Module, config: OptimConfig, is_new: Callable[[str], bool] = lambda name: False
) -> torch.optim.AdamW:
    """AdamW over `parameter_groups`: fused where every parameter's device has it, multi-tensor otherwise.

    torch chooses and supports the fused kernel on CUDA, CPU, MPS and XPU.
    """
    groups = parameter_groups(model, config, is_new)
    devices = {p.device.type for p in model.parameters() if p.requires_grad}
    fused = bool(devices) and devices <= {"cuda", "cpu", "mps", "xpu"}
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, fused=fused or None, foreach=None if fused else True
    )


def rate_factor(step: int, steps: int, warmup: int, hold: float = 0.0) -> float:
    """Share of the peak learning rate at a step: linear warm-up, the peak, then linear decay to 0 at `steps`.

    The first step already moves (factor 1 / warmup); the published code starts at 0.

    Args:
        step: index of the step, from 0.
        steps: length of the run.
        warmup: steps of warm-up; 0 starts at the peak.
        hold: share of the steps after the warm-up that stay at the peak.
    """
    if step < warmup:
        return (step + 1) / warmup
    falling = max(1.0, (1 - hold) * (steps - warmup))
    return min(1.0, max(0.0, (steps - step) / falling))


def set_rate(optimizer: torch.optim.Optimizer, config: OptimConfig, step: int, steps: int) -> float:
    """Set every group's learning rate for a step and return that of the known parts."""
    rate = config.lr * rate_factor(step, steps, config.warmup, config.hold)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate
