"""Dropout and drop path: torch's and the plain formula's, by what they keep, scale and differentiate."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from xfm.models.attention import Dropout, dropout
from xfm.models.vision import DropPath

RATES = (0.1, 0.5, 0.9)


def kept(states: Tensor) -> float:
    return float((states != 0).double().mean())


@pytest.mark.parametrize("rate", RATES)
def test_as_many_are_kept_as_torch_keeps(rate: float) -> None:
    ones = torch.ones(1000, 1001)
    ours, theirs = dropout(ones, rate), nn.functional.dropout(ones, rate)
    deviation = (rate * (1 - rate) / ones.numel()) ** 0.5
    assert kept(ours) == pytest.approx(1 - rate, abs=5 * deviation)
    assert kept(theirs) == pytest.approx(1 - rate, abs=5 * deviation)
    assert ours.max().item() == pytest.approx(theirs.max().item(), rel=1e-4)
    assert ours.mean().item() == pytest.approx(1, abs=5 * deviation / (1 - rate))


@given(
    count=st.integers(0, 41),
    rate=st.sampled_from(RATES),
    dtype=st.sampled_from([torch.float32, torch.float64, torch.bfloat16]),
    seed=st.integers(0, 99),
)
def test_what_is_kept_is_scaled_and_its_gradient_alike(
    count: int, rate: float, dtype: torch.dtype, seed: int
) -> None:
    torch.manual_seed(seed)
    states = (torch.rand(count, 3) + 1).to(dtype).requires_grad_()
    dropped = dropout(states.t(), rate)  # does not lie in one piece
    assert dropped.shape == (3, count)
    assert dropped.dtype == dtype
    dropped.sum().backward()
    assert states.grad is not None
    scale = torch.tensor(1 / (1 - rate), dtype=dtype)
    rough = 1e-2 if dtype == torch.bfloat16 else 1e-4
    wanted = torch.where(dropped == 0, 0, scale.expand_as(dropped))
    torch.testing.assert_close(states.grad.t(), wanted, rtol=rough, atol=0)
    torch.testing.assert_close(dropped, states.detach().t() * states.grad.t())


def test_a_seed_draws_the_same_and_evaluation_drops_nothing() -> None:
    states, module = torch.randn(50, 7), Dropout(0.3)
    torch.manual_seed(3)
    first = module(states)
    torch.manual_seed(3)
    assert torch.equal(module(states), first)
    assert not torch.equal(module(states), first)
    assert module.eval()(states) is states
    assert dropout(states, 0) is states


class Branch(nn.Module):
    """A branch that works sample by sample, and counts them."""

    def __init__(self) -> None:
        super().__init__()
        self.linear, self.seen = nn.Linear(4, 4), list[int]()

    def forward(self, states: Tensor) -> Tensor:
        self.seen.append(len(states))
        return self.linear(states).tanh()


@given(count=st.integers(1, 9), rate=st.sampled_from(RATES), seed=st.integers(0, 99))
def test_dropped_samples_are_not_computed_and_change_nothing(count: int, rate: float, seed: int) -> None:
    torch.manual_seed(seed)
    # In float32 the sums over fewer rows, without the zeros, differ in the last digits.
    branch, states = Branch().double(), torch.randn(count, 3, 4, dtype=torch.float64)
    ours, theirs = states.clone().requires_grad_(), states.clone().requires_grad_()
    torch.manual_seed(seed)
    found = DropPath(rate)(ours, branch)
    torch.manual_seed(seed)
    keep = torch.rand(count, 1, 1) >= rate
    assert branch.seen == [int(keep.sum())]
    gradients = torch.autograd.grad(found.square().sum(), [ours, *branch.parameters()])
    wanted = theirs + branch(theirs) * keep / (1 - rate)
    torch.testing.assert_close(found, wanted)
    expected = torch.autograd.grad(wanted.square().sum(), [theirs, *branch.parameters()])
    torch.testing.assert_close(gradients, expected)
