"""Layouts give the same numbers: attention plain or fused, queries side by side, texts packed or padded."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.modeling.build import VOCAB, fuse, gradients, losses_of, random_batch, random_tokens, tiny_model
from xfm.data.schema import Tokens
from xfm.modeling import fusion, grouping, packing
from xfm.modeling.attention import attend, attend_plain, padding_bias
from xfm.modeling.grouping import Copied, lay_side_by_side
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


# ---------------------------------------------------------------- attention
@pytest.mark.parametrize("with_bias", [True, False])
def test_plain_and_fused_agree(with_bias: bool) -> None:
    query, key, value = (torch.randn(3, 2, n, 8, dtype=torch.float64) for n in (5, 7, 7))
    visible = torch.rand(3, 7) < 0.5
    visible[:, 2] = True
    bias = padding_bias(visible).double() if with_bias else None
    with torch.no_grad():
        fused = attend(query, key, value, bias)
    torch.testing.assert_close(attend_plain(query, key, value, bias, 0.0), fused, rtol=0, atol=1e-12)


def test_hidden_keys_do_not_matter() -> None:
    query, key, value = (torch.randn(2, 2, 4, 8) for _ in range(3))
    visible = torch.tensor([[True, True, False, False], [True, False, True, False]])
    first = attend_plain(query, key, value, padding_bias(visible), 0.0)
    key[0, :, 2:], value[1, :, 3] = 1e4, -1e4
    torch.testing.assert_close(
        attend_plain(query, key, value, padding_bias(visible), 0.0), first, rtol=0, atol=0
    )


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 3))
def test_side_by_side_is_a_layout(memory: list[int], tokens: int) -> None:
    groups = lay_side_by_side(torch.tensor(memory), 5, tokens)
    states = torch.randn(len(memory), tokens, 3)
    gathered = groups.gather(states)
    assert torch.equal(groups.scatter(gathered), states)
    rows = gathered.view(5, groups.size, tokens, 3)
    for query, where in enumerate(memory):  # every query stands in its own memory's row
        assert any(torch.equal(place, states[query]) for place in rows[where])


def test_both_layouts_give_the_same_fusion(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model().double()
    tokens, _ = random_tokens(9)
    text = model.encode_text(tokens.ids, tokens.mask)
    image = model.encode_image(torch.randn(3, 3, 32, 32, dtype=torch.float64))
    index = torch.tensor([2, 0, 0, 1, 2, 2, 0, 2, 2])
    visible = torch.rand(9, 16) < 0.5
    results, learnt = [], []
    for layout in (lambda memory, *_: Copied(memory), grouping.lay_side_by_side):
        monkeypatch.setattr(fusion, "group_queries", layout)
        model.zero_grad()
        fused = model.fuse(text, tokens.mask, image, index, visible)
        fused.square().sum().backward(retain_graph=True)
        results.append(fused)
        learnt.append(gradients(model))
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    torch.testing.assert_close(*learnt, rtol=1e-9, atol=1e-9)


def test_unbalanced_queries_are_copied() -> None:
    assert isinstance(grouping.group_queries(torch.zeros(2, dtype=torch.int64), 100, 4), Copied)
    assert isinstance(grouping.group_queries(torch.arange(16) % 4, 4, 4), grouping.SideBySide)
