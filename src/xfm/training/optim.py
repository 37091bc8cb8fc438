"""AdamW with decay groups and rates of new parts and layers, Muon by choice, and learning-rate schedules.

How the published AdamW differs is said in docs/differences.md.
"""

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.training import Grouping, OptimConfig, Schedule
from xfm.models.encoders import layered_parts
from xfm.training.clock import TrainingClock
from xfm.training.muon import BatchedMuon

_NOT_DECAYED = re.compile(r"(bias|relative_position_table|norm\d?\.weight)$")
EPS = 1e-8


def is_decayed_as_published(name: str) -> bool:
    """Whether the published code decays a parameter of this name: not biases, relative-position tables and
    LayerNorms of the encoders, but temperature, cls, mask vectors, LayerScale, positions and LayerNorms of
    the heads."""
    return not _NOT_DECAYED.search(name)


class PublishedAdamW(torch.optim.Optimizer):
    """AdamW whose decay comes after the step, and whose epsilon is added before the bias correction: p <- p -
    lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + 1e-8), then p <- p - lr wd p."""

    def __init__(self, params: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float]) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; parameters without gradient stay as they are."""
        for group in self.param_groups:
            for parameter in group["params"]:
                if parameter.grad is not None:
                    self._update(parameter, parameter.grad, group)

    def _update(self, parameter: Tensor, gradient: Tensor, group: dict[str, Any]) -> None:
        state = self.state[parameter]
        if not state:
            state["step"] = torch.tensor(0.0)
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        state["step"] += 1
        (first, second), step = group["betas"], state["step"].item()
        state["exp_avg"].lerp_(gradient, 1 - first)
        state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
        size = group["lr"] * (1 - second**step) ** 0.5 / (1 - first**step)
        parameter.addcdiv_(state["exp_avg"], state["exp_avg_sq"].sqrt().add_(EPS), value=-size)
        parameter.mul_(1 - group["lr"] * group["weight_decay"])


_TABLE = re.compile(r"(^|\.)(positions?|pos_embed|position_embeddings?|relative_position\w*)(\.weight)?$")


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: to matrices and filters, not to vectors, scalars and tables of
    positions."""
    return parameter.ndim >= 2 and parameter.numel() > max(parameter.shape) and not _TABLE.search(name)


def parameter_groups(
    model: nn.Module, config: OptimConfig, is_new: Callable[[str], bool] = lambda name: False
) -> list[dict[str, Any]]:
    """Groups of the parameters that learn, with `params`, `names`, `weight_decay` and `lr_scale`: decayed or
    not, known or new (`is_new`), and by layer with `layer_decay`."""
    return _groups(_trained(model), config, is_new, layer_factors(model, config.layer_decay))


FEWEST_OUTPUTS = 8


def matrix_names(model: nn.Module) -> set[str]:
    """Names of the weights that Muon trains: linear layers but those with few outputs, the last of a head."""
    return {
        f"{name}.weight" if name else "weight"
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and module.out_features >= FEWEST_OUTPUTS
    }


def build_optimizer(
    model: nn.Module, config: OptimConfig, is_new: Callable[[str], bool] = lambda name: False
) -> torch.optim.Optimizer:
    """AdamW over `parameter_groups`, with `config.muon_lr` Muon for matrices; PublishedAdamW with
    `config.published`."""
    trained, factors = _trained(model), layer_factors(model, config.layer_decay)
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
    """Fused where the devices have it (CUDA, CPU, MPS, XPU), multi-tensor otherwise."""
    devices = {p.device.type for group in groups for p in group["params"]}
    fused = bool(devices) and devices <= {"cuda", "cpu", "mps", "xpu"}
    return torch.optim.AdamW(
        groups, lr=config.lr, betas=config.betas, fused=fused or None, foreach=None if fused else True
    )


def _trained(model: nn.Module) -> dict[str, Tensor]:
    return {name: p for name, p in model.named_parameters() if p.requires_grad}


def layer_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """Factor of the learning rate by name: `decay` to the power L - l in layer l (from 0) of L, L + 1 in
    front of the layers, 1 behind them."""
    below_the_top: dict[int, int] = {}
    for name, encoder in layered_parts(model):
        if name.rpartition(".")[2] in ("vision", "language"):
            depth = len(encoder.layers)
            outer: list[tuple[Any, int]] = [(encoder, depth + 1), *((norm, 0) for norm in encoder.last_norms)]
            for part, steps in (*outer, *zip(encoder.layers, range(depth, 0, -1), strict=True)):
                below_the_top |= dict.fromkeys(map(id, part.parameters()), steps)
    return {name: decay ** below_the_top.get(id(p), 0) for name, p in model.named_parameters()}


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


LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    Schedule.LINEAR: lambda left: left,
    Schedule.COSINE: lambda left: (1 - math.cos(math.pi * left)) / 2,
}
"""Share of the peak rate, given the share of the decay that is left: 1 at the peak, 0 at the end."""


def lr_factor(step: int, clock: TrainingClock, config: OptimConfig) -> float:
    """Share of the peak rate at a step from 0: warm-up (first step 1 / warmup; 0 in the published code),
    peak, decay."""
    if step < config.warmup:
        return (step + (not config.published)) / config.warmup
    falling = (1 - config.hold) * clock.left(config.warmup)
    left = min(1.0, max(0.0, clock.left(step) / falling)) if falling > 0 else 1.0
    factor = LR_SCHEDULES[config.schedule](left)
    return factor + (1 - factor) * config.least_lr / config.lr if config.least_lr else factor


def set_lr(optimizer: torch.optim.Optimizer, config: OptimConfig, step: int, clock: TrainingClock) -> float:
    """Set every group's learning rate for a step and return that of the known parts."""
    rate = config.lr * lr_factor(step, clock, config) * clock.lr_scale(step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_scale"]
    return rate
