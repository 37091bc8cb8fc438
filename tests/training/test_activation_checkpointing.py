"""What layers compute again: the same losses and gradients to the last bit, and no large product twice."""

from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.modeling.build import gradients, losses_of, random_batch, spread, tiny_config
from xfm.config.encoders import VisionConfig
from xfm.config.training import ActivationCheckpointing, Precision
from xfm.models.encoders import layers_of, units_of
from xfm.models.precision import autocast
from xfm.models.xfm import XFM
from xfm.training import activation_checkpointing as again
from xfm.training.activation_checkpointing import activation_checkpointing

AGAIN = [ActivationCheckpointing.SELECTIVE, ActivationCheckpointing.FULL]


@cache
def dropping(device: str = "cpu") -> XFM:
    """A model that drops weights, states and whole branches."""
    config = tiny_config()
    assert isinstance(config.vision, VisionConfig)
    config = replace(
        config,
        vision=replace(config.vision, drop_path=0.3),
        language=replace(config.language, dropout=0.2),  # pyright: ignore
        fusion=replace(config.fusing, dropout=0.2),
    )
    torch.manual_seed(0)
    model = XFM(config).train()
    spread(model)
    return model.to(device)


def step(
    mode: ActivationCheckpointing, precision: Precision, device: str = "cpu"
) -> tuple[Tensor, dict[str, Tensor]]:
    model = dropping(device)
    torch.manual_seed(1)
    batch = random_batch(5, 5, 9).to(device)
    with activation_checkpointing(model, mode):
        with autocast(precision, device):
            loss = losses_of(model, batch).total
        loss.backward()
    found = gradients(model)
    model.zero_grad(set_to_none=True)
    return loss.detach(), found


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
@pytest.mark.parametrize("mode", AGAIN)
def test_losses_and_gradients_are_the_same(mode: ActivationCheckpointing, precision: Precision) -> None:
    expected, theirs = step(ActivationCheckpointing.NONE, precision)
    loss, ours = step(mode, precision)
    assert torch.equal(loss, expected)
    assert ours.keys() == theirs.keys()
    assert [name for name, gradient in theirs.items() if not torch.equal(ours[name], gradient)] == []


def operations(mode: ActivationCheckpointing) -> tuple[int, int]:
    """Of the step: those of linear layers, and those of attention."""
    counter = FlopCounterMode(display=False)
    with counter:
        step(mode, Precision.FP32)
    counts = {str(operation): count for operation, count in counter.get_flop_counts()["Global"].items()}
    attention = counts.pop("aten.bmm")
    return sum(counts.values()), attention


def test_between_does_no_linear_layer_twice_and_half_of_attention() -> None:
    linear, attention = operations(ActivationCheckpointing.NONE)
    again, more = operations(ActivationCheckpointing.SELECTIVE)
    assert again == linear
    # Forward two products, backward four; here every row has other lengths, and spare places.
    assert 1 < more / attention < 1.2
    everything, _ = operations(ActivationCheckpointing.FULL)
    assert everything > 1.2 * linear


def test_layers_are_all_units_and_each_once() -> None:
    model = dropping()
    found = layers_of(model)
    inside = [id(part) for layer in found for part in layer.modules()]
    assert len(inside) == len(set(inside))
    assert {id(unit) for unit in units_of(model)} <= set(inside)


@pytest.mark.parametrize("mode", AGAIN)
def test_afterwards_the_model_is_as_it_was(mode: ActivationCheckpointing) -> None:
    model = dropping()
    before = {name: vars(part).copy() for name, part in model.named_modules()}
    with activation_checkpointing(model, mode):
        assert any("forward" in vars(part) for part in model.modules())
    assert {name: vars(part) for name, part in model.named_modules()} == before


class Layers(nn.Sequential):
    """An encoder of another library."""

    @property
    def layers(self) -> list[nn.Module]:
        return list(self)


class Library(nn.Module):
    """A model with an encoder of another library."""

    def __init__(self, finish: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.vision = Layers(Layer(finish), Layer(finish))


class Layer(nn.Module):
    """A layer that gives its product to a function."""

    def __init__(self, finish: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.fc, self.finish = nn.Linear(4, 4), finish

    def forward(self, states: Tensor) -> Tensor:
        """[N, 4] -> [N, 4]."""
        return states + self.finish(self.fc(states))


def test_a_result_that_is_changed_in_place_is_refused_and_not_taken() -> None:
    library = Library(nn.functional.leaky_relu_)
    with activation_checkpointing(library, ActivationCheckpointing.SELECTIVE):
        loss = library.vision(torch.randn(3, 4)).sum()
        with pytest.raises(RuntimeError, match=r"in place.*selective.*none or full"):
            loss.backward()


def test_layers_of_other_libraries_are_computed_again() -> None:
    states, found = torch.randn(3, 4), []
    torch.manual_seed(0)
    library = Library(lambda made: nn.functional.dropout(made.exp(), 0.5))
    for mode in ActivationCheckpointing:
        torch.manual_seed(1)
        with activation_checkpointing(library, mode):
            library.vision(states).sum().backward()
        found.append(gradients(library))
        library.zero_grad(set_to_none=True)
    for gradient in found[1:]:
        assert all(torch.equal(gradient[name], value) for name, value in found[0].items())


class Drawing(nn.Module):
    """A layer that draws by an operation that is kept, as attention of GPUs does, and drops numbers then."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.out = nn.Linear(4, 4), nn.Linear(4, 4)

    def forward(self, states: Tensor) -> Tensor:
        """[N, 4] -> [N, 4]."""
        made = self.fc(states)
        return states + nn.functional.dropout(self.out(made * torch.rand_like(made)).exp(), 0.5)


def test_what_drops_behind_attention_that_drops_draws_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of attention in one piece there is none on a CPU that drops: another operation stands for it."""
    monkeypatch.setattr(again, "_PRODUCTS", again._PRODUCTS | {torch.ops.aten.rand_like.default})
    states, found = torch.randn(3, 4), []
    torch.manual_seed(0)
    library = nn.Module()
    library.vision = Layers(Drawing(), Drawing())
    for mode in ActivationCheckpointing:
        torch.manual_seed(1)
        with activation_checkpointing(library, mode):
            library.vision(states).sum().backward()
        found.append((gradients(library), torch.get_rng_state()))
        library.zero_grad(set_to_none=True)
    for gradient, state in found[1:]:
        assert all(torch.equal(gradient[name], value) for name, value in found[0][0].items())
        assert torch.equal(state, found[0][1])


@pytest.mark.parametrize("operation", sorted(again._PRODUCTS, key=str), ids=str)
def test_it_is_known_which_operations_draw(operation: torch._ops.OpOverload) -> None:
    assert (torch.Tag.nondeterministic_seeded in operation.tags) == ("attention" in str(operation))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("mode", AGAIN)
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_gradients_of_a_gpu_are_the_same(mode: ActivationCheckpointing, precision: Precision) -> None:
    """Its attention drops in one piece; sums are in another order now and then."""
    expected, theirs = step(ActivationCheckpointing.NONE, precision, "cuda")
    loss, ours = step(mode, precision, "cuda")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-2, atol=1e-3 * float(gradient.abs().max()))
