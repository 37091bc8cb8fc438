"""An exponential moving average of the weights, which is often better than the weights of the last step."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from xfm.errors import UserError
from xfm.modeling.weights import read_tensors
from xfm.training.distributed import fill

RAMP = 10.0
"""In the first steps the average follows faster: after n steps its decay is (1 + n) / (RAMP + n) at most."""
_STEPS = "|steps"
"""In files: how many steps were followed; no parameter has such a name."""


def decay_after(decay: float, steps: int) -> float:
    """The share of an average that stays when it follows for the next time.

    Args:
        decay: of the average.
        steps: how many it has followed.
    """
    return min(decay, (1 + steps) / (RAMP + steps))


class EMA:
    """The average of a model's weights, beside them: in float32, and sharded where they are (FSDP2).

    Args:
        model: what is trained, laid out as its processes hold it; its weights are the first average.
        decay: share of the old average that stays with each step, in (0, 1).

    Attributes:
        decay: as given.
        steps: how many steps it has followed.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay, self.steps = decay, 0
        self._own = dict(model.named_parameters())
        self._average = {n: p.detach().to(torch.float32, copy=True) for n, p in self._own.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Follow a step; each process its part of the weights."""
        kept = decay_after(self.decay, self.steps)
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
        """Go on from the average of a checkpoint.

        Raises:
            UserError: unreadable, or of another model.
        """
        stored = read_tensors(file)
        steps = stored.pop(_STEPS, None)
        shapes = {name: tensor.shape for name, tensor in self._average.items()}
        if steps is None or {name: tensor.shape for name, tensor in stored.items()} != shapes:
            raise UserError(f"{file} is not the average of this model's weights: take an older checkpoint")
        self.steps = int(steps)
        for name, tensor in self._average.items():
            fill(tensor, stored[name])


class WeightAverage(nn.Module):
    """A module and the average of its weights, one module for the trainer: checkpoints hold both.

    Args:
        module: what is trained.
        decay: share of the old average that stays with each step, in (0, 1).

    Attributes:
        module: what is trained.
        average: its average; nothing of it is trained.

    Example:
        averaged = WeightAverage(task.module, 0.999)
        rule, follow = averaged.by_own_name(task.is_new), AfterUpdate(averaged.update)
        Trainer(averaged, ..., is_new=rule, callbacks=[follow]).fit()
        with averaged.applied():
            task.predict(rows)
    """

    def __init__(self, module: nn.Module, decay: float) -> None:
        if not 0 < decay < 1:
            raise ValueError(f"a decay of {decay} is no average: choose one between 0 and 1")
        super().__init__()

        def follow(average: Any, now: Any, steps: Tensor | int) -> None:
            get_ema_multi_avg_fn(decay_after(decay, int(steps)))(average, now, steps)

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
