"""AdamW and its groups as the published code has them, to reproduce its runs.

What differs from `xfm.training.optim` is said in docs/differences.md.
"""

import re
from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

_NOT_DECAYED = re.compile(r"(bias|relative_position_table|norm\d?\.weight)$")
EPS = 1e-8


def is_decayed_as_published(name: str) -> bool:
    """Whether the published code decays a parameter.

    It goes by parts of names: biases (the relative-position tables have one in their published name) and the
    LayerNorms of the encoders are not decayed; temperature, cls and mask vectors, LayerScale, position tables
    and the LayerNorms of the heads are.

    Args:
        name: the parameter's name in its model here, `vision.blocks.0.gamma1`.
    """
    return not _NOT_DECAYED.search(name)


class PublishedAdamW(torch.optim.Optimizer):
    """AdamW whose decay comes after the step, and whose epsilon is added before the bias correction.

    p <- p - lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + 1e-8), then p <- p - lr wd p.

    Args:
        params: groups with `params` and `weight_decay`.
        lr: learning rate of groups without their own.
        betas: b1 and b2.
    """

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
