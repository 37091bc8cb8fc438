"""Attention: plain and fused, and cross-attention on memories that texts share, by every layout."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.modeling.build import gradients, losses_of, random_batch, tiny_model
from xfm.models import fusion, shared_kv
from xfm.models.attention import attend, attend_plain, padding_bias
from xfm.models.attention_layout import PaddedRows
from xfm.models.fusion import CrossAttention
from xfm.models.shared_kv import Memories, Memory, copied, joined


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
    query, key, value, bias = (torch.randn(2, 3, 50, 64).bfloat16() for _ in range(4))
    query, bias = query * sharpness, bias[:1, :, :, :50]
    wanted = attend_plain(query.double(), key.double(), value.double(), bias.double(), 0.0)
    found = attend_plain(query, key, value, bias, 0.0)
    assert found.dtype == torch.bfloat16
    assert ((found - wanted).norm() / wanted.norm()).item() < 0.02


WIDTH, SOURCE, HEADS = 8, 6, 2


def looked(part: CrossAttention, states: Tensor, source: Tensor, memories: Memories) -> list[Tensor]:
    """The result, and every gradient of a sum of it that weighs each number otherwise."""
    part.zero_grad()
    states, source = (one.detach().requires_grad_() for one in (states, source))
    found = part(states, Memories([source], memories.grid, memories.rows, memories.biases))
    weights = torch.linspace(-1, 1, found.numel(), dtype=found.dtype, device=found.device)
    (found * weights.view_as(found)).sum().backward()
    assert states.grad is not None
    assert source.grad is not None
    return [found.detach(), states.grad, source.grad, *gradients(part).values()]


def example(
    texts: int, tokens: int, memories: int, keys: int, seen: bool, seed: int
) -> tuple[Tensor, Memory]:
    """Random texts, and the memories that each attends to; some may have none."""
    torch.manual_seed(seed)
    states = torch.randn(texts, tokens, WIDTH, dtype=torch.float64)
    visible = torch.rand(texts, keys) < 0.5
    visible[:, 0] = True
    source = torch.randn(memories, keys, SOURCE, dtype=torch.float64)
    return states, Memory(source, torch.randint(memories, (texts,)), visible if seen else None)


@settings(max_examples=60)
@given(
    st.integers(1, 40),
    st.integers(1, 5),
    st.integers(1, 6),
    st.integers(1, 30),
    st.booleans(),
    st.integers(0, 999),
)
def test_texts_that_share_rows_get_what_copies_give(
    texts: int, tokens: int, memories: int, keys: int, seen: bool, seed: int
) -> None:
    states, memory = example(texts, tokens, memories, keys, seen, seed)
    part = CrossAttention(WIDTH, SOURCE, HEADS, 0.0).double()
    ours, theirs = (looked(part, states, memory.states, way(memory, tokens)) for way in (joined, copied))
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-10, atol=1e-12)


def test_a_step_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of it, on the ways of a GPU: pairs, and regions that see some patches."""
    batch, model = random_batch(8, 4, 20), tiny_model().double().train()
    batch = batch.map(lambda tensor: tensor.double() if tensor.is_floating_point() else tensor)
    made: list[Memories] = []

    def noted(memory: Memory, tokens: int) -> Memories:
        made.append(joined(memory, tokens))
        return made[-1]

    def step(way: object) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
        monkeypatch.setattr(fusion, "remember", way)
        model.zero_grad()
        found = losses_of(model, batch)
        found.total.backward()
        return dict(found.terms), gradients(model)

    monkeypatch.setattr(fusion, "leaves_padding_out", lambda mask, needed: False)
    ours, theirs = step(noted), step(shared_kv.copied)
    assert any(isinstance(one.grid, PaddedRows) and one.grid.each > 1 for one in made)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.gpu
@pytest.mark.parametrize("seen", [False, True])
def test_a_gpu_keeps_less_than_copies_take(seen: bool) -> None:
    """By its own kernels, in bfloat16, at the sizes of the recipe `base`: close numbers, less memory."""
    part = CrossAttention(768, 768, 12, 0.0).cuda()
    states, source = torch.randn(2400, 30, 768).cuda(), torch.randn(96, 202, 768).cuda()
    visible = torch.rand(2400, 202).cuda() < 0.5
    visible[:, 0] = True
    memory = Memory(source, torch.arange(2400).cuda() % 96, visible if seen else None)
    kept: list[int] = []
    results: list[list[Tensor]] = []
    for way in (joined, copied):
        memories, before = way(memory, 30), torch.cuda.memory_allocated()
        with torch.autocast("cuda", dtype=torch.bfloat16):
            found = part(states.requires_grad_(), memories)
            kept.append(torch.cuda.memory_allocated() - before)
            results.append(looked(part, states, source, memories))
        del found
    assert kept[0] < 0.75 * kept[1]
    for one, other in zip(*results, strict=True):
        assert (one - other).float().norm() < 0.05 * other.float().norm()
