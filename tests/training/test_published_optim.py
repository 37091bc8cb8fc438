"""The published AdamW: its formula and its options in a recipe."""

import pytest
import torch
from torch import Tensor, nn

from xfm.config.load import load_recipe
from xfm.config.training import OptimConfig
from xfm.core.errors import UserError
from xfm.training.clock import TrainingClock
from xfm.training.optim import PublishedAdamW, build_optimizer, set_lr


def reference(start: Tensor, gradients: list[Tensor], lr: float, decay: float) -> Tensor:
    """The formula in float64: decay after the step, epsilon before the correction."""
    p, m, v = start.double(), torch.zeros_like(start).double(), torch.zeros_like(start).double()
    for t, g in enumerate((g.double() for g in gradients), start=1):
        m, v = 0.9 * m + 0.1 * g, 0.98 * v + 0.02 * g * g
        p = p - lr * (1 - 0.98**t) ** 0.5 / (1 - 0.9**t) * m / (v.sqrt() + 1e-8)
        p = p - lr * decay * p
    return p


def test_the_formula() -> None:
    weight, untouched = nn.Parameter(torch.randn(5, 3)), nn.Parameter(torch.randn(4))
    start, before = weight.detach().clone(), untouched.detach().clone()
    groups = [{"params": [weight, untouched], "weight_decay": 0.3}]
    optimizer = PublishedAdamW(groups, lr=0.05, betas=(0.9, 0.98))
    gradients = [torch.randn(5, 3) * 10.0**-k for k in range(6)]
    for gradient in gradients:
        weight.grad = gradient.clone()
        optimizer.step()
    expected = reference(start, gradients, 0.05, 0.3)
    torch.testing.assert_close(weight.detach().double(), expected, rtol=1e-5, atol=1e-6)
    assert torch.equal(untouched, before), "without gradient nothing decays"


def test_the_first_step_has_rate_zero() -> None:
    model = nn.Linear(3, 2)
    optim = OptimConfig(lr=0.1, warmup=4, published=True)
    optimizer = build_optimizer(model, optim)
    assert isinstance(optimizer, PublishedAdamW)
    assert set_lr(optimizer, optim, 0, TrainingClock(10)) == 0.0
    assert set_lr(optimizer, optim, 4, TrainingClock(10)) == 0.1


def test_a_recipe_takes_it() -> None:
    assert load_recipe("base", ["--training.optim.published", "true"]).training.optim.published
    with pytest.raises(UserError, match="no Muon"):
        load_recipe("nano", ["--training.optim.published", "true"])
