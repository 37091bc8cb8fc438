"""AdamW with decay groups and a multiplier for new parts, by choice Muon for matrices; warm-up and decay."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.training import OptimConfig
from xfm.training.published_optim import (
    PublishedAdamW,
    is_decayed_as_published,
    published_rate_factor,
)

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
) -> list[dict[str, Any]]:
    """Groups for torch's optimisers: decayed or not, by known or new parts.

    Args:
        model: frozen parameters (`requires_grad` False) are left out.
        config: weight decay and multiplier.
        is_new: whether the parameter of that name learns at `new_lr_multiplier` times the rate.

    Returns:
        At most four groups, each with `params`, `names`, `weight_decay` and `lr_scale`.
    """
    return _groups(_trained(model), config, is_new)


FEWEST_OUTPUTS = 8


def matrix_names(model: nn.Module) -> set[str]:
    """Names of the weights that Muon can train: matrices of linear layers.

    Not embeddings or filters, nor layers with few outputs: those are the last of a head.
    """
    return {
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features >= FEWEST_OUTPUTS
    }


def build_optimizer(
    model: nn.Module, config: OptimConfig, is_new: Callable[[str], bool] = lambda name: False
) -> torch.optim.Optimizer:
    """AdamW over `parameter_groups`; with `config.muon_lr` Muon for the matrices of linear layers.

    With `config.published` it is the published code's AdamW instead.
    """
    trained = _trained(model)
    if config.published:
        return PublishedAdamW(_groups(trained, config, is_new), config.lr, config.betas)
    if not config.muon_lr:
        return _adamw(_groups(trained, config, is_new), config)
    matrices = {name: trained[name] for name in sorted(trained.keys() & matrix_names(model))}
    others = {name: p for name, p in trained.items() if name not in matrices}
    groups = _groups(matrices, config, is_new)
    for group in groups:
        group["lr_scale"] *= config.muon_lr / config.lr
    muon = torch.optim.Muon(groups, lr=config.muon_lr, adjust_lr_fn="match_rms_adamw")
    return Composite([_adamw(_groups(others, config, is_new), config), muon])


class Composite(torch.optim.Optimizer):
    """Several optimisers of different parameters as one; groups and state are theirs."""

    def __init__(self, members: Sequence[torch.optim.Optimizer]) -> None:
        super().__init__([group for member in members for group in member.param_groups], {})
        self.members = members
        for member in members:
            member.state = self.state

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of each."""
        for member in self.members:
            member.step()


def _adamw(groups: list[dict[str, Any]], config: OptimConfig) -> torch.optim.AdamW:
    """Fused where every parameter's device has it, multi-tensor otherwise.

    torch chooses and supports the fused kernel on CUDA, CPU, MPS and XPU.
    """
    devices = {p.device.type for group in groups for p in group["params"]}
    fused = bool(devices) and devices <= {"cuda", "cpu", "mps", "xpu"}
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, fused=fused or None, foreach=None if fused else True
    )


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def _groups(
    named: Mapping[str, Tensor], config: OptimConfig, is_new: Callable[[str], bool]
) -> list[dict[str, Any]]:
    members: dict[tuple[bool, bool], dict[str, Tensor]] = {}
    for name, parameter in named.items():
        decayed = is_decayed_as_published(name) if config.published else is_decayed(name, parameter)
        members.setdefault((decayed, is_new(name)), {})[name] = parameter
    return [
        {
            "params": list(group.values()),
            "names": list(group),
            "weight_decay": config.weight_decay if decayed else 0.0,
            "lr_scale": config.new_lr_multiplier if new else 1.0,
        }
        for (decayed, new), group in sorted(members.items(), key=lambda item: item[0])
    ]


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
    if config.published:
        factor = published_rate_factor(step, steps, config.warmup)
    else:
        factor = rate_factor(step, steps, config.warmup, config.hold)
    rate = config.lr * factor
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate
