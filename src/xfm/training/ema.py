"""An exponential moving average of the weights, which is often better than the weights of the last step."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from xfm.core.errors import UserError
from xfm.models.weights import read_tensors
from xfm.training.distributed import fill

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
            self._copy(trained)

    def give(self) -> None:
        """Give the model the average's weights for good; what was trained last is gone."""
        self._copy(self._average)

    @torch.no_grad()
    def _copy(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._own.items():
            parameter.copy_(values[name])

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
