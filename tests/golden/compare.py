"""Comparisons with recorded states, losses and gradients, and their tolerances."""

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from tests.golden.recorded import TASKS, Recorded
from xfm.config.model import ModelConfig
from xfm.models.interop.published.names import layout, spare, to_published
from xfm.models.task_models import ADDED, TaskModel

STATE = 2e-5
RESAMPLED, ROUNDING = "upres/rel_pos_table", 1e-6
"""Resampled tables are exact up to the rounding of float32."""
SUMS = ("loss_per_sequence", "rank_candidate_loss", "rank_logprob_sum_pre_order")
"""Arrays that are sums over many tokens: they have a relative tolerance, too."""

NOISE = 3
"""Two float32 computations may lie on both sides of the float64 one, and no two machines round alike."""


def check(recorded: Recorded, name: str, value: Tensor) -> None:
    """A recorded array: integers exactly, floats to 2e-5 or what float32 noise allows."""
    wanted = recorded.outputs[name]
    if name.startswith(RESAMPLED):
        torch.testing.assert_close(value, wanted, rtol=ROUNDING, atol=ROUNDING)
    exact = not wanted.is_floating_point()
    atol = 0.0 if exact else max(STATE, NOISE * recorded.noise.get(name, 0.0))
    rtol = STATE if name.endswith(SUMS) else 0.0
    torch.testing.assert_close(value, wanted, rtol=rtol, atol=atol, msg=lambda m: f"{name}: {m}")


def check_loss(recorded: Recorded, name: str, loss: Tensor) -> None:
    rel = max(STATE, NOISE * recorded.noise.get(name, 0.0))
    assert loss.item() == pytest.approx(recorded.scalars[name], rel=rel, abs=STATE), name


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


def is_rounding(name: str) -> bool:
    """Whether a gradient is zero but for rounding: softmax does not see a shift of all keys."""
    return name.endswith(".key.bias")


def check_norms(case: str, wanted: Mapping[str, tuple[float, float]], ours: Mapping[str, Tensor]) -> None:
    """The norm and the sum of every gradient that was recorded."""
    largest = max(norm for norm, _ in wanted.values())
    for name, (norm, total) in wanted.items():
        assert name in ours, f"{case}: {name} learns in the published model and not here"
        gradient = ours[name].double()
        found = gradient.norm().item()
        if is_rounding(name):
            assert found <= 1e-5 * largest, f"{case}: {name}"
            continue
        slack = 1e-6 * largest
        assert found == pytest.approx(norm, rel=1e-4, abs=slack), f"{case}: {name}"
        # A sum may cancel, so that its error is relative to the norm.
        slack += 1e-4 * norm
        assert gradient.sum().item() == pytest.approx(total, rel=0, abs=slack), f"{case}: sum of {name}"


def check_gradients(recorded: Recorded, case: str, ours: Mapping[str, Tensor]) -> None:
    """Every parameter's gradient, no gradient where none was recorded, and a word on every parameter."""
    wanted = {name: tuple(pair) for name, pair in recorded.gradients["grads"][case].items()}
    absent = set(recorded.gradients["none"][case])
    check_norms(case, wanted, ours)
    for name in ours.keys() - wanted.keys():
        assert name in absent, f"{case}: nothing is recorded for {name}"
        assert ours[name].norm() == 0, f"{case}: {name} must not be reached"
    task = case.split("/")[0].removesuffix("_noidx")
    config = recorded.task_config(task) if task in TASKS else None
    names = {name for entry in layout(recorded.config, config) for name in entry.published}
    names |= spare(recorded.config, config)[2]
    keys = recorded.json("keys.json")
    tied = {name for group in keys["tied"] for name in group} - set(keys["trainable_parameters"])
    assert not absent & wanted.keys()
    assert absent | wanted.keys() == names - tied
