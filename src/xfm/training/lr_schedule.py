"""How the learning rate rises and falls: a registry of schedules, each a function."""

import math
from collections.abc import Callable

import torch

from xfm.config.training import OptimConfig, Schedule
from xfm.training.clock import TrainingClock

LR_SCHEDULES: dict[str, Callable[[float], float]] = {
    Schedule.LINEAR: lambda left: left,
    Schedule.COSINE: lambda left: (1 - math.cos(math.pi * left)) / 2,
}
"""Share of the peak rate, given the share of the decay that is left: 1 at the peak, 0 at the end."""


def lr_factor(step: int, clock: TrainingClock, config: OptimConfig) -> float:
    """Share of the peak learning rate at a step: linear warm-up, the peak, then the decay.

    The first step already moves (factor 1 / warmup); the published code starts at 0.

    Args:
        step: index of the step, from 0.
        clock: how far the run has come.
        config: `warmup`, `hold`, `schedule`, `least_lr` and `published`.
    """
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
