"""Packed texts: the same numbers as padded ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.modeling.build import VOCAB, fuse, gradients, losses_of, random_batch, tiny_model
from xfm.config.encoders import TextPositions
from xfm.data.schema import Tokens
from xfm.models import attention_layout
from xfm.models.attention_layout import leaves_padding_out, pack_texts
from xfm.models.gradients import FINE_TUNING, PRETRAINING, GradientPolicy
from xfm.models.xfm import XFM

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=20).filter(any)


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@settings(max_examples=60)
@given(st.lists(LENGTHS, min_size=1, max_size=3))
def test_unpacking_undoes_packing(batches: list[list[int]]) -> None:
    masks = [mask_of(lengths) for lengths in batches]
    states = [torch.randn(*mask.shape, 3, dtype=torch.float64, requires_grad=True) for mask in masks]
    packed = pack_texts(masks)
    tokens = packed.outside.collect(states)
    real = torch.cat([state[mask] for state, mask in zip(states, masks, strict=True)])
    assert len(tokens) % attention_layout.TOKENS_STEP == 0
    assert torch.equal(tokens[: len(real)], real)
    rows = packed.texts.grid.spread(tokens)
    assert all(len(part) % attention_layout.STEP == 0 for part in rows)
    back = packed.outside.spread(packed.texts.grid.collect(rows))
    weights = [torch.randn_like(state) for state in states]
    torch.stack([(b * w).sum() for b, w in zip(back, weights, strict=True)]).sum().backward()
    for state, mask, found, weight in zip(states, masks, back, weights, strict=True):
        assert torch.equal(found[mask], state[mask])
        assert state.grad is not None
        assert torch.equal(state.grad, weight * mask[:, :, None])  # the gradient of real places alone


def states_and_gradients(model: XFM, ids: Tensor, mask: Tensor, pixels: Tensor) -> list[Tensor]:
    model.zero_grad()
    found = [model.encode_text(ids, mask)[mask], fuse(model, Tokens(ids, mask), pixels)[mask]]
    torch.stack([state.square().mean() * state.sum() for state in found]).sum().backward()
    return [*found, *gradients(model).values()]


@settings(max_examples=15)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.sampled_from(TextPositions))
def test_training_and_evaluation_mode_agree(lengths: list[int], order: TextPositions) -> None:
    torch.manual_seed(len(lengths))
    model, mask = tiny_model(order=order).double(), mask_of(lengths)
    ids = torch.randint(4, VOCAB - 1, mask.shape).masked_fill(~mask, 1)
    pixels = torch.randn(len(lengths), 3, 32, 32, dtype=torch.float64)
    padded = states_and_gradients(model.eval(), ids, mask, pixels)
    packed = states_and_gradients(model.train(), ids, mask, pixels)
    assert len(padded) == len(packed) > 40
    for a, b in zip(padded, packed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("policy", [PRETRAINING, FINE_TUNING], ids=["pretraining", "fine-tuning"])
@pytest.mark.parametrize(("depth", "order"), [(1, TextPositions.SINE), (2, TextPositions.NONE)])
def test_a_whole_step_agrees(
    policy: GradientPolicy, depth: int, order: TextPositions, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All texts in one pass, all queries in another that gives back what is read: as passes of their own."""
    batch, model = random_batch(), tiny_model(order=order).double().train()
    batch = batch.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    model.fusion.layers = model.fusion.layers[:depth]
    asked: list[bool] = []

    def losses(packs: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        def choose(mask: Tensor, needed: bool) -> bool:
            asked.append(leaves_padding_out(mask, needed))
            return packs

        for module in ("language", "fusion"):
            monkeypatch.setattr(f"xfm.models.{module}.leaves_padding_out", choose)
        model.zero_grad()
        found = losses_of(model, batch, policy)
        found.total.backward()
        return dict(found.terms), gradients(model)

    (padded, padded_gradients), (packed, packed_gradients) = losses(False), losses(True)
    assert all(asked)
    torch.testing.assert_close(packed, padded, rtol=1e-9, atol=1e-11)
    torch.testing.assert_close(packed_gradients, padded_gradients, rtol=1e-8, atol=1e-11)


@pytest.mark.parametrize("order", TextPositions)
def test_fusion_knows_the_order_of_states_by_its_positions_alone(order: TextPositions) -> None:
    model = tiny_model(order=order).double().eval()
    text, image = torch.randn(3, 7, 32, dtype=torch.float64), torch.randn(3, 17, 24, dtype=torch.float64)
    mask = torch.ones(3, 7, dtype=torch.bool)
    other = text[:, [0, 1, 5, 3, 4, 2, 6]]
    first, second = (model.fuse(states, mask, image)[:, 0] for states in (text, other))
    assert torch.allclose(first, second, rtol=1e-9) == (order is TextPositions.NONE)


@pytest.mark.parametrize("training", [False, True], ids=["evaluation", "training"])
def test_token_0_alone_is_that_of_all_tokens(training: bool) -> None:
    """Of texts, and of texts on pictures: what the last layer computes of nothing else."""
    model = tiny_model().double().train(training)
    mask = mask_of([2, 7, 1, 4])
    ids = torch.randint(4, model.config.language.vocab_size, mask.shape).masked_fill(~mask, 1)
    image = torch.randn(3, 5, model.config.vision.width, dtype=torch.float64)
    said, shown = torch.tensor([0, 1, 1, 3, 2, 0]), torch.tensor([2, 0, 1, 1, 1, 1])
    with torch.set_grad_enabled(training):
        states = model.encode_text(ids, mask)
        (packed,) = model.encode_texts([Tokens(ids, mask)])
        torch.testing.assert_close(packed[mask], states[mask], rtol=1e-9, atol=1e-11)
        first = model.language.encode_first(ids, mask)
        torch.testing.assert_close(first, states[:, 0], rtol=1e-9, atol=1e-11)
        fused = model.fuse(states[said], mask[said], image, shown)
        alone = model.fuse_first(states, mask, image, shown, said)
        torch.testing.assert_close(alone, fused[:, :1], rtol=1e-9, atol=1e-11)
        own = model.fuse_first(states[:3], mask[:3], image)
        torch.testing.assert_close(own, model.fuse(states[:3], mask[:3], image)[:, :1], rtol=1e-9, atol=1e-11)
