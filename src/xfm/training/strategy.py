"""How processes hold a model: each all of it (DDP), or each a part (FSDP2)."""

import gc
import warnings
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from xfm.config.training import Precision, Strategy, TrainingConfig
from xfm.models.encoders import units_of
from xfm.models.fusion import CrossAttention
from xfm.training import distributed


class TrainedModel(nn.Module):
    """A model as the module that DDP and FSDP2 follow: every pass is a function of it that is called here."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function gives for the model and the arguments."""
        return function(self.model, *arguments)


class OneProcess:
    """A process that trains alone; what the others do besides, the classes below say."""

    def __init__(self, model: nn.Module) -> None:
        self.root = TrainedModel(model)

    def no_grad(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """What a function of the model gives, without gradients."""
        with torch.no_grad():
            return self.root(function, *arguments)

    @contextmanager
    def part(self, stage: Hashable, last: bool) -> Iterator[nn.Module]:
        """The module for a part of a step and its context; parts of a stage use the same parameters."""
        yield self.root

    def done(self) -> None:
        """Told after the backward pass of a step's last part."""

    def refresh(self) -> None:
        """Told before the weights change otherwise than by a step, after passes without a backward pass."""


class Replicas(OneProcess):
    """Every process has the whole model (DDP). The first step of a stage finds out which parameters it uses;
    of several parts the last alone sends gradients, and looks each time unless the parts are alike."""

    def __init__(self, model: nn.Module, device: torch.device, alike: bool = True) -> None:
        super().__init__(model)
        self._alike = alike
        self._ids = [device] if device.type == "cuda" else None
        self._wrapped: nn.parallel.DistributedDataParallel | None = None
        self._stage: Hashable = None
        self._unused: list[nn.Parameter] | None = None

    @contextmanager
    def part(self, stage: Hashable, last: bool) -> Iterator[nn.Module]:
        """The module for a part of a step; see `OneProcess.part`."""
        if self._wrapped is None or stage != self._stage:
            self._stage, self._unused = stage, None
            self._wrap([])
        assert self._wrapped is not None
        with nullcontext() if last else self._wrapped.no_sync():
            yield self._wrapped

    def done(self) -> None:
        """Leave out from now on what the stage's first step did not use."""
        if self._stage is None:
            return
        if self._unused is None:
            trained = [(name, p) for name, p in self.root.named_parameters() if p.requires_grad]
            self._unused = [p for _, p in trained if p.grad is None]
            self._wrap([name for name, p in trained if p.grad is None])
        elif any(p.grad is not None for p in self._unused):
            raise RuntimeError("a step used parameters that the first step of its stage did not use")

    def _wrap(self, ignored: list[str]) -> None:
        first, self._wrapped = self._wrapped is None, None
        gc.collect()  # what wrapped it before has its hooks in the graph, and lies in cycles
        wrapper = nn.parallel.DistributedDataParallel
        constant = [name for name, _ in self.root.named_buffers()]
        wrapper._set_params_and_buffers_to_ignore_for_model(self.root, [*ignored, *constant])
        self._wrapped = wrapper(
            self.root,
            device_ids=self._ids,
            find_unused_parameters=self._unused is None or not self._alike,
            init_sync=first,
        )


class Shards(OneProcess):
    """Every process has a part of each parameter, gradient and moment (FSDP2). Units are gathered while they
    compute, embeddings and heads during a step; gradients are reduced after every part."""

    def __init__(self, model: nn.Module, device: torch.device, precision: Precision) -> None:
        super().__init__(model)
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import MixedPrecisionPolicy, fully_shard

        mesh = init_device_mesh(device.type, (distributed.world(),))
        half = device.type == "cuda" and precision is Precision.BF16
        warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view")  # it is left alone
        policy = MixedPrecisionPolicy(torch.bfloat16, torch.float32) if half else MixedPrecisionPolicy()
        for unit in units_of(model):
            if isinstance(unit, CrossAttention):  # pictures reach it by a way of their own
                fully_shard(unit.key_value, mesh=mesh, mp_policy=policy)
            fully_shard(unit, mesh=mesh, mp_policy=policy)
        fully_shard(self.root, mesh=mesh)  # temperature, heads, embeddings: in float32

    def refresh(self) -> None:
        """Let go of what is gathered; embeddings and heads wait for a backward pass that may not come."""
        from torch.distributed.fsdp import FSDPModule

        for module in self.root.modules():
            if isinstance(module, FSDPModule):
                module.reshard()


def strategy_of(
    model: nn.Module, config: TrainingConfig, device: torch.device, precision: Precision
) -> OneProcess:
    """How this run's processes hold the model; all of them must ask, before the optimiser is built."""
    if distributed.world() == 1:
        return OneProcess(model)
    if config.strategy is Strategy.FSDP:
        return Shards(model, device, precision)
    return Replicas(model, device, alike=not config.sequential_sources)
