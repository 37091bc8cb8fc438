"""AdamW with decay groups and rates of new parts and layers, by choice Muon for matrices; the schedule."""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.training import Grouping, OptimConfig, Schedule
from xfm.training.muon import BatchedMuon
from xfm.training.progress import Progress
from xfm.training.published_optim import (
    PublishedAdamW,
    is_decayed_as_published,
    published_rate_factor,
)

_LAYER = re.compile(r"(?:^|\.)(vision|language)\.(?:\w+\.)*?(?:blocks|layers?)\.(\d+)\.")
_ENCODER = re.compile(r"(?:^|\.)(?:vision|language)\.")
_LAST_NORM = re.compile(r"(?:vision|language)\.(?:\w+\.)*?(?:fc_)?norm\.(?:weight|bias)$")
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
    """Groups for torch's optimisers: decayed or not, by known or new parts, by layer.

    Args:
        model: frozen parameters (`requires_grad` False) are left out.
        config: weight decay, multiplier, factor of the layers, or one group for all.
        is_new: whether the parameter of that name learns at `new_lr_multiplier` times the rate.

    Returns:
        Groups, each with `params`, `names`, `weight_decay` and `lr_scale`: at most four without a factor of
        the layers.
    """
    return _groups(_trained(model), config, is_new, _factors(model, config))


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
    trained, factors = _trained(model), _factors(model, config)
    if config.published:
        return PublishedAdamW(_groups(trained, config, is_new, factors), config.lr, config.betas)
    if not config.muon_lr:
        return _adamw(_groups(trained, config, is_new, factors), config)
    matrices = {name: trained[name] for name in sorted(trained.keys() & matrix_names(model))}
    others = {name: p for name, p in trained.items() if name not in matrices}
    groups = _groups(matrices, config, is_new, factors)
    for group in groups:
        group["lr_scale"] *= config.muon_lr / config.lr
    return Composite(
        [_adamw(_groups(others, config, is_new, factors), config), BatchedMuon(groups, config.muon_lr)]
    )


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


def layer_factors(names: Iterable[str], decay: float) -> dict[str, float]:
    """Factor of the learning rate of each parameter by the depth of its layer.

    In an encoder of L layers, parameters of layer l (from 0) have `decay` to the power L - l, those in front
    of the layers (patches, words, positions) L + 1. What comes after the layers of an encoder has 1.

    Args:
        names: parameters' names in a model or a task model.
        decay: in (0, 1].
    """
    names = list(names)
    layers = {name: (match[1], int(match[2])) for name in names if (match := _LAYER.search(name))}
    depths: dict[str, int] = {}
    for encoder, layer in layers.values():
        depths[encoder] = max(depths.get(encoder, 0), layer + 1)

    def steps_below_the_top(name: str) -> int:
        if name in layers:
            encoder, layer = layers[name]
            return depths[encoder] - layer
        if not _ENCODER.search(name) or ("embed" not in name and _LAST_NORM.search(name)):
            return 0
        encoder = "vision" if "vision." in name else "language"
        return depths.get(encoder, 0) + 1

    return {name: decay ** steps_below_the_top(name) for name in names}


def _factors(model: nn.Module, config: OptimConfig) -> dict[str, float]:
    """Of all parameters, the frozen ones too: they are layers as well."""
    return layer_factors((name for name, _ in model.named_parameters()), config.layer_decay)


def _groups(
    named: Mapping[str, Tensor],
    config: OptimConfig,
    is_new: Callable[[str], bool],
    factors: Mapping[str, float],
) -> list[dict[str, Any]]:
    if config.grouping is Grouping.ONE:
        everything = {"params": list(named.values()), "names": list(named)}
        return [{**everything, "weight_decay": config.weight_decay, "lr_scale": 1.0}]
    members: dict[tuple[bool, bool, float], dict[str, Tensor]] = {}
    for name, parameter in named.items():
        decayed = is_decayed_as_published(name) if config.published else is_decayed(name, parameter)
        members.setdefault((decayed, is_new(name), factors[name]), {})[name] = parameter
    return [
        {
            "params": list(group.values()),
            "names": list(group),
            "weight_decay": config.weight_decay if decayed else 0.0,
            "lr_scale": factor * (config.new_lr_multiplier if new else 1.0),
        }
        for (decayed, new, factor), group in sorted(members.items(), key=lambda item: item[0])
    ]


def rate_factor(
    step: int, progress: Progress, warmup: int, hold: float = 0.0, schedule: Schedule = Schedule.LINEAR
) -> float:
    """Share of the peak learning rate at a step: linear warm-up, the peak, then the decay to 0 at the end.

    The first step already moves (factor 1 / warmup); the published code starts at 0.

    Args:
        step: index of the step, from 0.
        progress: how far the run has come.
        warmup: steps of warm-up; 0 starts at the peak.
        hold: share of what comes after the warm-up that stays at the peak.
        schedule: the decay.
    """
    if step < warmup:
        return (step + 1) / warmup
    falling = (1 - hold) * progress.left(warmup)
    left = min(1.0, max(0.0, progress.left(step) / falling)) if falling > 0 else 1.0
    return left if schedule is Schedule.LINEAR else (1 - math.cos(math.pi * left)) / 2


def set_rate(optimizer: torch.optim.Optimizer, config: OptimConfig, step: int, progress: Progress) -> float:
    """Set every group's learning rate for a step and return that of the known parts."""
    if config.published:
        factor = published_rate_factor(step, progress, config.warmup)
    else:
        factor = rate_factor(step, progress, config.warmup, config.hold, config.schedule)
        if step >= config.warmup and config.least_lr:
            factor += (1 - factor) * config.least_lr / config.lr
    rate = config.lr * factor * progress.rate(step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate
