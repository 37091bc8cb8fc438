"""Comparisons with recorded states, losses and gradients, and their tolerances."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from tests.golden.recorded import Recorded
from xfm.config.model import ModelConfig
from xfm.interop.published.names import to_published
from xfm.modeling.task_models import ADDED, TaskModel

STATES = {"rtol": 0.0, "atol": 2e-5}
SUMS = {"rtol": 2e-5, "atol": 2e-5}  # sums over many tokens


def check(recorded: Recorded, name: str, value: Tensor, tolerance: Mapping[str, float] = STATES) -> None:
    torch.testing.assert_close(value, recorded.outputs[name], **tolerance, msg=lambda m: f"{name}: {m}")


def check_loss(recorded: Recorded, name: str, loss: Tensor) -> None:
    assert loss.item() == pytest.approx(recorded.scalars[name], rel=2e-5, abs=2e-5), name


def native_name(name: str, module: nn.Module) -> str:
    """A parameter's name as the table of key names has it."""
    if isinstance(module, TaskModel) and name.startswith(ADDED):
        return f"task.{name}"
    return name.removeprefix("model.") if isinstance(module, TaskModel) else name


def published_names(
    values: Mapping[str, Tensor], module: nn.Module, config: ModelConfig
) -> dict[str, Tensor]:
    """Parameters or gradients of a module, given by their names in it, under their published names."""
    named = {native_name(name, module): value for name, value in values.items()}
    return to_published(named, config, module.task if isinstance(module, TaskModel) else None)


def gradients(module: nn.Module, config: ModelConfig) -> dict[str, Tensor]:
    found = {name: p.grad for name, p in module.named_parameters() if p.grad is not None}
    return published_names(found, module, config)


def check_gradients(recorded: Recorded, case: str, ours: Mapping[str, Tensor]) -> None:
    """The norm of every parameter's gradient, and no gradient where none was recorded."""
    expected = {name: norm for name, (norm, _) in recorded.gradients["grads"][case].items()}
    absent = set(recorded.gradients["none"][case])
    largest = max(expected.values())
    for name, gradient in ours.items():
        norm = gradient.norm().item()
        if name in absent:
            assert norm == 0, f"{case}: {name} must not be reached"
        elif name.endswith(".key.bias"):  # zero but for rounding: softmax does not see a shift
            assert norm <= 1e-5 * largest, name
        else:
            assert norm == pytest.approx(expected[name], rel=1e-4, abs=1e-6 * largest), f"{case}: {name}"
    assert set(expected) <= set(ours), "a parameter that learns in the published model does not here"
