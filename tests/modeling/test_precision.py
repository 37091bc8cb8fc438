"""bf16 where it is wanted, and close enough to float32."""

import random

import pytest
import torch

from tests.modeling.build import gradients, losses_of, random_batch, tiny_model
from xfm.config.training import Precision
from xfm.models import precision
from xfm.models.precision import autocast


@pytest.fixture(params=[False, True], ids=["slow bf16", "fast bf16"])
def fast(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Pretend a device that is good, or not, at bf16."""
    monkeypatch.setattr(precision, "bf16_is_fast", lambda device: request.param)
    return request.param


@pytest.mark.parametrize("wanted", Precision)
def test_products_run_in_the_wanted_dtype(wanted: Precision, fast: bool) -> None:
    is_bf16 = wanted is Precision.BF16 or (wanted is Precision.AUTO and fast)
    layer, inputs = torch.nn.Linear(4, 3), torch.randn(2, 4)
    with autocast(wanted, "cpu"):
        assert torch.is_autocast_enabled("cpu") == is_bf16
        assert layer(inputs).dtype == (torch.bfloat16 if is_bf16 else torch.float32)
    assert not torch.is_autocast_enabled("cpu")
    assert layer(inputs).dtype == torch.float32


class Disturbed:
    """A clock by which products take 2 s in fp32 and 1 s in bf16, and longer while something else runs."""

    def __init__(self, disturbed: int, draw: random.Random) -> None:
        self.now, self.reads, self.left, self.draw = 0.0, 0, disturbed, draw

    def __call__(self) -> float:
        if self.reads % 2:
            self.left -= 1
            slower = self.draw.uniform(1, 3) if self.left > 0 else 1.0
            self.now += slower * (2.0 if self.reads % 4 == 1 else 1.0)
        self.reads += 1
        return self.now


@pytest.mark.parametrize("disturbed", [0, 50])
def test_other_programs_do_not_decide(disturbed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Disturbed(disturbed, random.Random(0))
    monkeypatch.setattr("torch.ops.mkldnn._is_mkldnn_bf16_supported", lambda: True)
    monkeypatch.setattr(precision.time, "perf_counter", clock)
    assert precision._cpu_gain.__wrapped__(side=2) == pytest.approx(2.0)
    assert clock.reads >= 2 * 2 * 7 * 4  # two products, each between two reads


def test_bf16_losses_and_gradients_are_close_to_float32() -> None:
    model, batch = tiny_model(), random_batch()

    def step() -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        model.zero_grad()
        losses = losses_of(model, batch)
        losses.total.backward()
        return {name: part.detach() for name, part in losses.terms.items()}, gradients(model)

    expected_losses, expected = step()
    with autocast(Precision.BF16, "cpu"):
        found_losses, found = step()
    for name, loss in found_losses.items():
        assert loss.dtype == torch.float32, name
        assert loss.item() == pytest.approx(expected_losses[name].item(), rel=0.03, abs=0.01), name
    assert found.keys() == expected.keys()
    assert all(gradient.dtype == torch.float32 for gradient in found.values())
    joined, joined_expected = (torch.cat([g.flatten() for g in gs.values()]) for gs in (found, expected))
    assert torch.cosine_similarity(joined, joined_expected, dim=0) > 0.99
