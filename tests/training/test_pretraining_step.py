"""The gradient of a step's batches, of its sources, and of layers that are computed again."""

import copy
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from tests.modeling.build import gradients, losses_of, random_batch, spread, tiny_model
from tests.training.ranks import LEAKY, OnePhase, global_batch
from tests.training.support import called, model_with_dropout
from tests.training.support import config as settings
from xfm.config.model import MimTarget
from xfm.config.training import ActivationCheckpointing, LossConfig, OptimConfig, Precision
from xfm.models.gradients import PRETRAINING
from xfm.models.precision import autocast
from xfm.models.xfm import XFM
from xfm.objectives.contrast import compare, vectors_of
from xfm.objectives.step import encode_texts, encode_unmasked, pretraining_losses, sources_of
from xfm.objectives.text_rows import PairEmbeddings
from xfm.training.activation_checkpointing import activation_checkpointing
from xfm.training.optim import build_optimizer
from xfm.training.pretraining_step import PretrainingStep, StepPart
from xfm.training.trainer import Trainer

CONTRAST = LossConfig(mlm=0, itm=0, imlm=0, mim=0, box_l1=0, box_giou=0)
BATCHES = 3


def parts_of(model: XFM) -> tuple[PretrainingStep, list[StepPart]]:
    data: Any = OnePhase(CONTRAST)
    step = PretrainingStep([PRETRAINING], MimTarget.STATES, data)
    batches = [global_batch(number) for number in range(BATCHES)]
    parts = step.split(model, batches, torch.Generator(), called(model))
    return step, [part for (part,) in parts]


def in_one_graph(model: XFM, parts: list[StepPart]) -> torch.Tensor:
    """The contrast of all batches, each under the dropout of its part, with everything in memory."""
    found: dict[str, list[PairEmbeddings]] = {}
    for part in parts:
        assert part.random
        for go_back in part.random:
            go_back()
        images = encode_unmasked(model, part.batch.pair, part.batch.region)
        texts = encode_texts(model, part.batch, PRETRAINING, CONTRAST)
        for source in sources_of(part.batch, images, texts):
            found.setdefault(source.name, []).append(vectors_of(model, source.rows, PRETRAINING))
    everyone = [PairEmbeddings.join(several) for several in found.values()]
    losses = [compare(rows, rows, 0, model.temperature).loss for rows in everyone]
    return torch.stack(losses).sum()


def test_the_gradient_of_all_batches_is_found_batch_by_batch() -> None:
    torch.manual_seed(3)
    model = model_with_dropout().train()
    step, parts = parts_of(model)
    found = [step(model, part, torch.Generator()).total / BATCHES for part in parts]
    for loss in found:
        loss.backward()
    ours, total = gradients(model), torch.stack(found).sum()
    model.zero_grad()
    expected = in_one_graph(model, parts)
    expected.backward()
    torch.testing.assert_close(total, expected)
    theirs = gradients(model)
    assert ours.keys() == theirs.keys()
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-4, atol=1e-6, msg=name)


def kept_by(model: XFM, step: PretrainingStep, part: StepPart) -> int:
    """Bytes that a part's forward pass keeps for its backward pass."""
    kept: dict[int, int] = {}
    with torch.autograd.graph.saved_tensors_hooks(
        lambda t: (kept.update({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()}), t)[1],
        lambda t: t,
    ):
        step(model, part, torch.Generator())
    return sum(kept.values())


def test_a_part_keeps_no_more_than_a_step_of_its_own() -> None:
    model = model_with_dropout().train()
    step, parts = parts_of(model)
    ((single,),) = step.split(model, [parts[0].batch], torch.Generator(), called(model))
    assert kept_by(model, step, parts[0]) < 1.1 * kept_by(model, step, single)


def test_a_source_keeps_less_than_all_of_them() -> None:
    """Each alone, whatever has weight; what nothing is learned from is no part."""
    model, batch = model_with_dropout().train(), global_batch(0)
    kept: dict[bool, list[int]] = {}
    for sequential_sources in (False, True):
        data: Any = OnePhase(LossConfig(mlm=0))
        step = PretrainingStep([PRETRAINING], MimTarget.STATES, data, sequential_sources)
        (parts,) = step.split(model, [batch], torch.Generator(), called(model))
        kept[sequential_sources] = [kept_by(model, step, part) for part in parts]
    assert len(kept[True]) == len({"image", "pair", "region"})
    assert max(kept[True]) < 0.7 * kept[False][0]


def test_three_updates_are_steps_by_texts_by_regions_with_pictures_and_by_pairs() -> None:
    model, batch, data = tiny_model(), global_batch(0), OnePhase(LossConfig())
    config = replace(settings(1), three_updates=True, optim=OptimConfig(lr=0.01, warmup=0, clip=0.1))
    step = PretrainingStep([PRETRAINING], MimTarget.STATES, data, three_updates=True)  # pyright: ignore
    trainer = Trainer(copy.deepcopy(model), step, lambda *_: iter([batch]), config)
    generator = torch.Generator().manual_seed(trainer.generator.initial_seed())
    trainer.fit()
    optimizer = build_optimizer(model.train(), config.optim)
    for names in (("text",), ("region", "image"), ("pair",)):
        optimizer.zero_grad()
        pretraining_losses(model, batch.only(names), PRETRAINING, LossConfig(), generator).total.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 0.1)
        optimizer.step()
    torch.testing.assert_close(trainer.model.state_dict(), model.state_dict())
    for change in ({"sequential_sources": True}, {"gradient_accumulation_steps": 2}):
        with pytest.raises(ValueError, match="three_updates bars sequential_sources"):
            replace(config, **change)


def test_mim_toward_the_start_does_not_follow_the_encoder() -> None:
    """Before the first step it is the published target, and stays that when the encoder has moved."""
    model, batch = tiny_model(), global_batch(0).only(["image", "pair"])
    start, data = copy.deepcopy(model.vision), OnePhase(LossConfig())
    step = PretrainingStep([PRETRAINING], MimTarget.INITIAL, data, start=start)  # pyright: ignore

    def losses(kind: MimTarget, teacher: nn.Module | None) -> dict[str, torch.Tensor]:
        drawn = torch.Generator().manual_seed(0)
        found = pretraining_losses(model, batch, PRETRAINING, LossConfig(), drawn, None, kind, teacher)
        return {name: loss for name, loss in found.terms.items() if name.endswith("/mim")}

    ((part,),) = step.split(model, [batch], torch.Generator(), called(model))
    of_step = step(model, part, torch.Generator().manual_seed(0)).terms
    before = losses(MimTarget.STATES, None)
    assert before.keys() == {"image/mim", "pair/mim"}
    torch.testing.assert_close({name: of_step[name] for name in before}, before)
    with torch.no_grad():
        for parameter in model.vision.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    moved = losses(MimTarget.INITIAL, start)
    torch.testing.assert_close(moved, losses(MimTarget.INITIAL, copy.deepcopy(start)))
    assert all(not torch.isclose(moved[name], loss) for name, loss in losses(MimTarget.STATES, None).items())


class ByBatch(OnePhase):
    """Every batch is a phase of its own."""

    def phase_number(self, batch: int) -> int:
        return batch


def test_gradients_go_where_the_phase_says() -> None:
    """Of matching alone: into the language encoder in the second phase, and not in the first."""
    data: Any = ByBatch(LossConfig(mlm=0, itc=0, imlm=0, mim=0, box_l1=0, box_giou=0))
    model = model_with_dropout()
    step = PretrainingStep([PRETRAINING, LEAKY], MimTarget.STATES, data)
    reached = []
    for number in range(2):
        model.zero_grad()
        ((part,),) = step.split(model, [global_batch(number)], torch.Generator(), called(model))
        step(model, part, torch.Generator()).total.backward()
        reached.append({name.split(".")[0] for name, gradient in gradients(model).items() if gradient.any()})
    assert "fusion" in reached[0]
    assert "language" not in reached[0]
    assert reached[1] == reached[0] | {"language"}


AGAIN = [ActivationCheckpointing.SELECTIVE, ActivationCheckpointing.FULL]


@cache
def dropping(device: str = "cpu") -> XFM:
    """A model that drops weights, states and whole branches."""
    model = model_with_dropout().train()
    spread(model)
    return model.to(device)


def step(mode, precision, device="cpu"):
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


@pytest.mark.gpu
@pytest.mark.parametrize("mode", AGAIN)
@pytest.mark.parametrize("precision", [Precision.FP32, Precision.BF16])
def test_gradients_of_a_gpu_are_the_same(mode: ActivationCheckpointing, precision: Precision) -> None:
    """Its attention drops in one piece; sums are in another order now and then."""
    expected, theirs = step(ActivationCheckpointing.NONE, precision, "cuda")
    loss, ours = step(mode, precision, "cuda")
    torch.testing.assert_close(loss, expected, rtol=1e-5, atol=1e-5)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, rtol=1e-2, atol=1e-3 * float(gradient.abs().max()))
