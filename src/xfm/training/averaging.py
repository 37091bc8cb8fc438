"""An exponential moving average of the weights, which is often better than the weights of the last step."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

RAMP = 10.0
"""In the first steps the average follows faster: after n steps its decay is (1 + n) / (RAMP + n) at most."""


class WeightAverage(nn.Module):
    """A module and the average of its weights, one module for the training loop: checkpoints hold both.

    Args:
        module: what is trained.
        decay: share of the old average that stays with each step, in (0, 1).

    Attributes:
        module: what is trained.
        average: its average; nothing of it is trained.

    Example:
        averaged = WeightAverage(task.module, 0.999)
        train(averaged, ..., is_new=averaged.by_own_name(task.is_new), after_step=averaged.update)
        with averaged.applied():
            task.predict(rows)
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"a decay of {decay} is no average: choose one between 0 and 1")
        super().__init__()

        def follow(average: Any, now: Any, steps: Tensor | int) -> None:
            kept = min(decay, (1 + int(steps)) / (RAMP + int(steps)))
            get_ema_multi_avg_fn(kept)(average, now, steps)

        self.module = module
        self.average = AveragedModel(module, multi_avg_fn=follow).requires_grad_(False)

    def by_own_name(self, is_new: Callable[[str], bool]) -> Callable[[str], bool]:
        """The rule for the module's parameters, as one for their names here."""
        return lambda name: is_new(name.removeprefix("module."))

    def update(self) -> None:
        """Let the average follow; call it after every step."""
        self.average.update_parameters(self.module)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside, the module has the average's weights."""
        self._swap()
        try:
            yield
        finally:
            self._swap()

    def keep(self) -> None:
        """Give the module the average's weights for good; what was trained last is gone."""
        self._swap()

    @torch.no_grad()
    def _swap(self) -> None:
        for own, other in zip(self.module.parameters(), self.average.module.parameters(), strict=True):
            own.data, other.data = other.data, own.data
