"""AdamW with decay groups and rates of new parts and layers, Muon by choice, and learning-rate schedules.

How the published AdamW differs is said in docs/differences.md.
"""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from xfm.config.training import Grouping, OptimConfig, Schedule
from xfm.core.errors import UserError
from xfm.models.encoders import last_norms, layered_parts
from xfm.models.precision import working_dtype
from xfm.models.weights import read_tensors
from xfm.training.clock import TrainingClock
from xfm.training.distributed import fill


class BatchedMuon(torch.optim.Muon):
    """torch's Muon with one batched product for all matrices of a shape (or its transpose), as a small model
    has dozens of them. In bfloat16 its numbers are torch's; else it is float32, where torch's bfloat16 is
    slow on some CPUs."""

    def __init__(self, params: list[dict[str, Any]], lr: float) -> None:
        super().__init__(params, lr=lr, adjust_lr_fn="match_rms_adamw")

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One step of every matrix that has a gradient."""
        for group in self.param_groups:
            alike: dict[tuple[Any, ...], list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    key = (*sorted(matrix.shape), matrix.device, matrix.dtype)
                    alike.setdefault(key, []).append(matrix)
            for matrices in alike.values():
                self._update(matrices, group)

    def _update(self, matrices: Sequence[Tensor], group: dict[str, Any]) -> None:
        lr, momentum = group["lr"], group["momentum"]
        directions = []
        for matrix in matrices:
            gradient, state = matrix.grad, self.state[matrix]
            assert gradient is not None
            if "momentum_buffer" not in state:
                state["momentum_buffer"] = torch.zeros_like(gradient)
            buffer = state["momentum_buffer"].lerp_(gradient, 1 - momentum)
            directions.append(working_dtype(_wide(gradient.lerp(buffer, momentum))))
        updates = orthogonalised(torch.stack(directions), group["ns_coefficients"], group["ns_steps"])
        size = 0.2 * max(matrices[0].shape) ** 0.5
        for matrix, update in zip(matrices, updates, strict=True):
            matrix.mul_(1 - lr * group["weight_decay"])
            _wide(matrix).add_(update, alpha=-lr * size)


def orthogonalised(matrices: Tensor, polynomial: tuple[float, float, float], steps: int) -> Tensor:
    """[N, R, C] with singular values near 1, R at most C, by the Newton-Schulz iteration of fifth order of
    Jordan et al. (2024), "Muon: an optimizer for hidden layers in neural networks"; `polynomial` has the
    coefficients of x, x^3 and x^5."""
    norms = torch.stack([matrix.norm() for matrix in matrices])  # as one reduction each: same rounding as one
    found = matrices / norms.clamp(min=1e-7)[:, None, None].to(matrices.dtype)
    if matrices.dtype is torch.float32 and matrices.shape[2] >= 2 * matrices.shape[1]:
        return _factor(found @ found.mT, polynomial, steps) @ found
    a, b, c = polynomial
    for _ in range(steps):
        gram = found @ found.mT
        found = torch.baddbmm(found, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), found, beta=a)
    return found


def _factor(gram: Tensor, polynomial: tuple[float, float, float], steps: int) -> Tensor:
    """Factor of X from G = X X^T alone, for R x R products: P = a + b G + c G^2, X <- P X, G <- P G P.
    Rounding adds up, which bfloat16 does not stand."""
    a, b, c = polynomial
    factor: Tensor | None = None
    for step in range(steps):
        power = torch.baddbmm(gram, gram, gram, beta=b, alpha=c)
        power.diagonal(dim1=-2, dim2=-1).add_(a)
        factor = power if factor is None else power @ factor
        if step + 1 < steps:
            gram = power @ gram @ power
    assert factor is not None
    return factor


def _wide(matrix: Tensor) -> Tensor:
    return matrix.mT if matrix.shape[0] > matrix.shape[1] else matrix


_NOT_DECAYED = re.compile(r"(bias|relative_position_table|norm\d?\.weight)$")
"""What the published code does not decay: biases, relative-position tables and LayerNorms of the encoders. It
does decay temperature, cls, mask vectors, LayerScale, positions and LayerNorms of the heads."""


class PublishedAdamW(torch.optim.Optimizer):
    """AdamW whose decay comes after the step, and whose epsilon is added before the bias correction: p <- p -
    lr sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + eps), then p <- p - lr wd p."""

    def __init__(
        self, params: Iterable[dict[str, Any]], lr: float, betas: tuple[float, float], eps: float
    ) -> None:
        super().__init__(params, {"lr": lr, "betas": betas, "eps": eps, "weight_decay": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
        """One step; parameters without gradient stay as they are."""
        for group in self.param_groups:
            (first, second), rate = group["betas"], group["lr"]
            for parameter in group["params"]:
                if (gradient := parameter.grad) is None:
                    continue
                state = self.state[parameter]
                if not state:
                    state["step"] = torch.tensor(0.0)
                    state["exp_avg"] = torch.zeros_like(parameter)
                    state["exp_avg_sq"] = torch.zeros_like(parameter)
                state["step"] += 1
                step = state["step"].item()
                state["exp_avg"].lerp_(gradient, 1 - first)
                state["exp_avg_sq"].mul_(second).addcmul_(gradient, gradient, value=1 - second)
                size = rate * (1 - second**step) ** 0.5 / (1 - first**step)
                root = state["exp_avg_sq"].sqrt().add_(group["eps"])
                parameter.addcdiv_(state["exp_avg"], root, value=-size)
                parameter.mul_(1 - rate * group["weight_decay"])


_TABLE = re.compile(r"(^|\.)(positions?|pos_embed|position_embeddings?|relative_position\w*)(\.weight)?$")


def is_decayed(name: str, parameter: Tensor) -> bool:
    """Whether weight decay applies: to matrices and filters, not to vectors, scalars and tables of
    positions."""
    return parameter.ndim >= 2 and parameter.numel() > max(parameter.shape) and not _TABLE.search(name)


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
    groups = partial(parameter_groups, model, config, is_new)
    if config.published:
        return PublishedAdamW(groups(), config.lr, config.betas, config.eps)
    if not config.muon_lr:
        return _adamw(groups(), config)
    trained = [name for name, p in model.named_parameters() if p.requires_grad]
    matrices = {
        name for name in matrix_names(model).intersection(trained) if is_new(name) or not config.muon_new_only
    }
    if not matrices:
        return _adamw(groups(), config)
    of_matrices = groups(sorted(matrices))
    for group in of_matrices:
        group["lr_multiplier"] *= config.muon_lr / config.lr
    others = groups([name for name in trained if name not in matrices])
    return Composite([_adamw(others, config), BatchedMuon(of_matrices, config.muon_lr)])


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
    how: dict[str, Any] = {"fused": True} if fused else {"foreach": True}
    return torch.optim.AdamW(groups, lr=config.lr, betas=config.betas, eps=config.eps, **how)


def layer_factors(model: nn.Module, decay: float) -> dict[str, float]:
    """Factor of the learning rate by name: `decay` to the power L - l in layer l (from 0) of L, L + 1 in
    front of the layers, 1 behind them."""
    below_the_top: dict[int, int] = {}
    for name, encoder in layered_parts(model):
        if name.rpartition(".")[2] in ("vision", "language"):
            depth = len(encoder.layers)
            outer: list[tuple[Any, int]] = [(encoder, depth + 1), *((one, 0) for one in last_norms(encoder))]
            for part, steps in (*outer, *zip(encoder.layers, range(depth, 0, -1), strict=True)):
                below_the_top |= dict.fromkeys(map(id, part.parameters()), steps)
    return {name: decay ** below_the_top.get(id(p), 0) for name, p in model.named_parameters()}


def parameter_groups(
    model: nn.Module,
    config: OptimConfig,
    is_new: Callable[[str], bool] = lambda name: False,
    names: Iterable[str] | None = None,
) -> list[dict[str, Any]]:
    """Groups of the parameters that learn (of these names), with `params`, `names`, `weight_decay` and
    `lr_multiplier`: decayed or not, known or new (`is_new`), and by layer with `layer_decay`."""
    factors = layer_factors(model, config.layer_decay)
    trained = {name: p for name, p in model.named_parameters() if p.requires_grad}
    named = trained if names is None else {name: trained[name] for name in names}
    if config.grouping is Grouping.ONE:
        everything = {"params": list(named.values()), "names": list(named)}
        return [{**everything, "weight_decay": config.weight_decay, "lr_multiplier": 1.0}]
    members: dict[tuple[bool, bool, float], dict[str, Tensor]] = {}
    for name, parameter in named.items():
        decayed = not _NOT_DECAYED.search(name) if config.published else is_decayed(name, parameter)
        members.setdefault((decayed, is_new(name), factors[name]), {})[name] = parameter
    return [
        {
            "params": list(group.values()),
            "names": list(group),
            "weight_decay": config.weight_decay if decayed else 0.0,
            "lr_multiplier": factor * (config.new_lr_multiplier if new else 1.0),
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
    """Set every group's learning rate for a step and return that of the pre-trained parts."""
    rate = config.lr * lr_factor(step, clock, config) * clock.lr_scale(step)
    for group in optimizer.param_groups:
        group["lr"] = rate * group["lr_multiplier"]
    return rate


RAMP = 10.0
"""In the first steps the average follows faster: after n steps its decay is (1 + n) / (RAMP + n) at most."""
_STEPS = "|steps"
"""In files: how many steps were followed; no parameter has such a name."""


class EMA:
    """Exponential moving average of the weights, float32, sharded as they are; `decay` of it stays at each
    step."""

    def __init__(self, model: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"a decay of {decay} is no average: choose one between 0 and 1")
        self.decay, self.steps = decay, 0
        self._own = dict(model.named_parameters())
        self._average = {n: p.detach().to(torch.float32, copy=True) for n, p in self._own.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Follow a step; each process its part of the weights."""
        kept = min(self.decay, (1 + self.steps) / (RAMP + self.steps))
        for name, parameter in self._own.items():
            self._average[name].mul_(kept).add_(parameter.to(torch.float32), alpha=1 - kept)
        self.steps += 1

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the model has the average's weights."""
        trained = {name: parameter.detach().clone() for name, parameter in self._own.items()}
        self.give()
        try:
            yield
        finally:
            self.give(trained)

    @torch.no_grad()
    def give(self, values: Mapping[str, Tensor] | None = None) -> None:
        """Give the model the average's weights (or `values`) for good; what was trained last is gone."""
        for name, parameter in self._own.items():
            parameter.copy_((values or self._average)[name])

    def state_dict(self) -> dict[str, Tensor]:
        """What a checkpoint keeps."""
        return {**self._average, _STEPS: torch.tensor(self.steps)}

    def load(self, file: Path) -> None:
        """Load the average of a checkpoint; UserError if unreadable or of another model."""
        stored = read_tensors(file)
        steps = stored.pop(_STEPS, None)
        shapes = {name: tensor.shape for name, tensor in self._average.items()}
        if steps is None or {name: tensor.shape for name, tensor in stored.items()} != shapes:
            raise UserError(f"{file} is not the average of this model's weights: take an older checkpoint")
        self.steps = int(steps)
        for name, tensor in self._average.items():
            fill(tensor, stored[name])
