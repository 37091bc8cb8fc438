"""AdamW with decay groups and rates of new parts and layers, by choice Muon for matrices."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.training import Grouping, OptimConfig
from xfm.modeling.encoders import layered_parts
from xfm.training.muon import BatchedMuon
from xfm.training.published_optim import PublishedAdamW, is_decayed_as_published

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
    return _groups(_trained(model), config, is_new, layer_factors(model, config.layer_decay))


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


def layer_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """Factor of the learning rate of each parameter of a model by the depth of its layer.

    In an encoder of L layers, parameters of layer l (from 0) have `decay` to the power L - l, those in front
    of the layers (patches, words, positions) L + 1. What comes after the layers of an encoder has 1.

    Args:
        model: a model or a task's model; frozen parameters are of layers, too.
        decay: in (0, 1].
    """
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
