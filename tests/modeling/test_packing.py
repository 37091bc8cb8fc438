"""Packed texts: the same numbers as padded ones."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.modeling.build import VOCAB, fuse, gradients, losses_of, random_batch, tiny_model
from xfm.data.schema import Tokens
from xfm.modeling import packing
from xfm.modeling.packing import PADDED, Packed, lay_out, pack_texts
from xfm.modeling.xfm import XFM

LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=20).filter(any)


def mask_of(lengths: list[int]) -> Tensor:
    return torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]


@settings(max_examples=60)
@given(LENGTHS)
def test_unpacking_undoes_packing(lengths: list[int]) -> None:
    mask = mask_of(lengths)
    states = torch.randn(*mask.shape, 3, dtype=torch.float64, requires_grad=True)
    packed = pack_texts(mask)
    rows = packed.pack(states)
    assert rows.shape[0] % packing.SIZE_STEP == 0
    assert rows.shape[0] > mask.sum()
    assert torch.equal(rows[: packed.tokens], states[mask])
    back = packed.unpack(rows)
    assert torch.equal(back[mask], states[mask])
    weights = torch.randn_like(back)
    (back * weights).sum().backward()  # the gradient of real places alone
    assert states.grad is not None
    assert torch.equal(states.grad, weights * mask[:, :, None])


def states_and_gradients(model: XFM, ids: Tensor, mask: Tensor, pixels: Tensor) -> list[Tensor]:
    model.zero_grad()
    found = [model.encode_text(ids, mask)[mask], fuse(model, Tokens(ids, mask), pixels)[mask]]
    torch.stack([state.square().mean() * state.sum() for state in found]).sum().backward()
    return [*found, *gradients(model).values()]


@settings(max_examples=15)
@given(st.lists(st.integers(1, 9), min_size=1, max_size=12))
def test_training_and_evaluation_mode_agree(lengths: list[int]) -> None:
    torch.manual_seed(len(lengths))
    model, mask = tiny_model().double(), mask_of(lengths)
    ids = torch.randint(4, VOCAB - 1, mask.shape).masked_fill(~mask, 1)
    pixels = torch.randn(len(lengths), 3, 32, 32, dtype=torch.float64)
    padded = states_and_gradients(model.eval(), ids, mask, pixels)
    packed = states_and_gradients(model.train(), ids, mask, pixels)
    assert len(padded) == len(packed) > 40
    for a, b in zip(padded, packed, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-11)


def test_a_whole_step_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    batch, model = random_batch().to("cpu"), tiny_model().train()
    laid_out: list[type] = []

    def losses(always_padded: bool) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        def choose(mask: Tensor, training: bool) -> packing.Layout:
            laid_out.append(type(PADDED if always_padded else lay_out(mask, training)))
            return PADDED if always_padded else lay_out(mask, training)

        for module in ("language", "fusion"):
            monkeypatch.setattr(f"xfm.modeling.{module}.lay_out", choose)
        model.zero_grad()
        found = losses_of(model, batch)
        found.total.backward()
        return dict(found.parts), gradients(model)

    (padded, padded_gradients), (packed, packed_gradients) = losses(True), losses(False)
    assert Packed in laid_out
    torch.testing.assert_close(packed, padded, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(packed_gradients, padded_gradients, rtol=1e-3, atol=1e-5)


def test_when_texts_are_packed() -> None:
    half, full = mask_of([2, 4, 1]), mask_of([4, 4, 4])
    assert isinstance(lay_out(half, training=True), Packed)
    assert lay_out(half, training=False) is PADDED
    assert lay_out(full, training=True) is PADDED
