"""The tensors of a run at one moment: its own, or copies that training cannot change any more."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from xfm.training.dtensor import whole
from xfm.training.ema import EMA


@dataclass(frozen=True)
class Snapshot:
    """The tensors of a checkpoint, whole: copies where they were asked for, else the run's own where it can.

    Attributes:
        weights: parameters and buffers by name.
        moments: the optimiser's, by name of the parameter.
        average: of the weights, where one is kept.
    """

    weights: Mapping[str, Tensor]
    moments: Mapping[str, Tensor]
    average: Mapping[str, Tensor] = field(default_factory=dict)

    @property
    def nbytes(self) -> int:
        """What they take."""
        return sum(t.nbytes for of in (self.weights, self.moments, self.average) for t in of.values())


class HostCopies:
    """Copies of tensors in the machine's memory, which stays: to be given new pages costs more than to copy.

    Those of a GPU's tensors lie in page-locked memory, so that the GPU copies them by itself.
    """

    def __init__(self) -> None:
        self._held: dict[str, Tensor] = {}
        self._waits = False

    @torch.no_grad()
    def keep(self, name: str, tensor: Tensor) -> Tensor:
        """A copy of a tensor, in place of the last one of that name; whole after `finish`."""
        held = self._held.get(name)
        if held is None or (held.shape, held.dtype) != (tensor.shape, tensor.dtype):
            held = torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=tensor.is_cuda)
            self._held[name] = held
        held.copy_(tensor, non_blocking=tensor.is_cuda)
        self._waits = self._waits or tensor.is_cuda
        return held

    def finish(self) -> None:
        """Wait until everything is copied."""
        if self._waits:
            torch.cuda.synchronize()
        self._waits = False


def unique_state(module: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers by name; one that is shared appears under its first name only."""
    seen: set[int] = set()
    state: dict[str, Tensor] = {}
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            state[name] = tensor
    return state


def snapshot(
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    kept: bool = True,
    copies: HostCopies | None = None,
    average: EMA | None = None,
) -> Snapshot:
    """The tensors of a checkpoint. Of a sharded model every process must ask, at the same place.

    Args:
        model: the bare module (not wrapped for several processes).
        optimizer: built by `build_optimizer` for this model.
        kept: whether this process wants them: others help to gather them, and get none.
        copies: where all of them are copied to, so that training may go on; without, only what was gathered
            is a copy.
        average: of the weights, if one is kept.
    """

    def gathered(named: Iterable[tuple[str, Tensor]], kind: str = "") -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, tensor in named:
            full = whole(tensor)
            if kept and copies is not None:
                found[name] = copies.keep(kind + name, full)
            elif kept:
                found[name] = full if full is tensor else full.cpu()
        return found

    found = Snapshot(
        gathered(unique_state(model).items()),
        gathered(_optimizer_tensors(optimizer)),
        gathered(average.state_dict().items(), "average|") if average is not None else {},
    )
    if copies is not None:
        copies.finish()
    return found


def _optimizer_tensors(optimizer: torch.optim.Optimizer) -> Iterator[tuple[str, Tensor]]:
    for group in optimizer.param_groups:
        for name, parameter in zip(group["names"], group["params"], strict=True):
            for key, value in optimizer.state.get(parameter, {}).items():
                yield f"{name}|{key}", value
