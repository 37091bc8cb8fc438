import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.modeling.build import gradients, random_tokens, tiny_model
from xfm.models import fusion
from xfm.models.attention import attend, attend_plain, padding_bias
from xfm.models.attention_layout import PaddedRows, RaggedLayout
from xfm.models.shared_kv import Memories, Memory, copied, remember, side_by_side


@pytest.mark.parametrize("with_bias", [True, False])
def test_plain_and_fused_agree(with_bias: bool) -> None:
    query, key, value = (torch.randn(3, 2, n, 8, dtype=torch.float64) for n in (5, 7, 7))
    visible = torch.rand(3, 7) < 0.5
    visible[:, 2] = True
    bias = padding_bias(visible).double() if with_bias else None
    with torch.no_grad():
        fused = attend(query, key, value, bias)
    torch.testing.assert_close(attend_plain(query, key, value, bias, 0.0), fused, rtol=0, atol=1e-12)


@pytest.mark.parametrize("sharpness", [1, 3])
def test_plain_attention_in_bf16_is_within_two_percent(sharpness: int) -> None:
    torch.manual_seed(0)
    query, key, value, bias = (torch.randn(2, 3, 50, 64).bfloat16() for _ in range(4))
    query, bias = query * sharpness, bias[:1, :, :, :50]
    wanted = attend_plain(query.double(), key.double(), value.double(), bias.double(), 0.0)
    found = attend_plain(query, key, value, bias, 0.0)
    assert found.dtype == torch.bfloat16
    assert ((found - wanted).norm() / wanted.norm()).item() < 0.02


def test_scores_in_float16_do_not_overflow() -> None:
    query = key = torch.full((1, 1, 3, 64), 45.0, dtype=torch.float16)
    value = torch.ones(1, 1, 3, 64, dtype=torch.float16)
    assert attend_plain(query, key, value, torch.zeros(1, 1, 1, 3), 0.0).isfinite().all()


def test_hidden_keys_do_not_matter() -> None:
    query, key, value = (torch.randn(2, 2, 4, 8) for _ in range(3))
    visible = torch.tensor([[True, True, False, False], [True, False, True, False]])
    first = attend_plain(query, key, value, padding_bias(visible), 0.0)
    key[0, :, 2:], value[1, :, 3] = 1e4, -1e4
    torch.testing.assert_close(
        attend_plain(query, key, value, padding_bias(visible), 0.0), first, rtol=0, atol=0
    )


def all_side_by_side(memory: Memory, tokens: int) -> Memories:
    texts = torch.arange(len(memory.index))
    return side_by_side([memory], texts.repeat_interleave(tokens), len(texts) * tokens)


@settings(max_examples=40)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=12), st.integers(1, 3))
def test_side_by_side_is_a_layout(memory: list[int], tokens: int) -> None:
    states, own = torch.randn(len(memory) * tokens, 3), torch.arange(5.0).view(5, 1, 1).expand(5, 2, 1)
    text = torch.arange(len(memory)).repeat_interleave(tokens)
    groups = side_by_side([Memory(own, torch.tensor(memory))], text, len(states))
    parts = groups.grid.spread(states)
    assert torch.equal(groups.grid.collect(parts), states)
    assert isinstance(groups.grid, RaggedLayout)
    shared = groups.share([own])
    rows = [
        part[:, :1, 0].expand(shape).flatten() for part, shape in zip(shared, groups.grid.shapes, strict=True)
    ]
    seen = torch.cat(rows)[groups.grid.place]  # every token stands in a row of its own memory
    assert seen.tolist() == [where for where in memory for _ in range(tokens)]


def test_both_layouts_give_the_same_fusion(monkeypatch: pytest.MonkeyPatch) -> None:
    model = tiny_model().double()
    tokens, _ = random_tokens(9)
    text = model.encode_text(tokens.ids, tokens.mask)
    image = model.encode_image(torch.randn(3, 3, 32, 32, dtype=torch.float64))
    index = torch.tensor([2, 0, 0, 1, 2, 2, 0, 2, 2])
    visible = torch.rand(9, 16) < 0.5
    results, learnt = [], []
    model.eval()
    for layout in (copied, all_side_by_side):
        monkeypatch.setattr(fusion, "remember", layout)
        model.zero_grad()
        fused = model.fuse(text, tokens.mask, image, index, visible)
        fused.square().sum().backward(retain_graph=True)
        results.append(fused)
        learnt.append(gradients(model))
    torch.testing.assert_close(*results, rtol=0, atol=1e-12)
    torch.testing.assert_close(*learnt, rtol=1e-9, atol=1e-9)


def test_memories_of_few_texts_are_copied() -> None:
    states, index = torch.randn(4, 2, 3), torch.arange(16) % 4
    assert isinstance(remember(Memory(states, index[:8]), 3).grid, PaddedRows)
    assert isinstance(remember(Memory(states, index), 3).grid, RaggedLayout)
