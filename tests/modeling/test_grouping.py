"""Cross-attention on shared memories: the numbers of a copy for each text, in less memory."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.modeling.build import gradients, losses_of, random_batch, tiny_model
from xfm.models import fusion, shared_kv
from xfm.models.attention_layout import JoinedTexts
from xfm.models.fusion import CrossAttention
from xfm.models.shared_kv import Memories, Memory, copied, joined, rows_of_texts

WIDTH, SOURCE, HEADS = 8, 6, 2
MANY = st.integers(1, 400)


def looked(part: CrossAttention, states: Tensor, source: Tensor, memories: Memories) -> list[Tensor]:
    """The result, and every gradient of a sum of it that weighs each number otherwise."""
    part.zero_grad()
    states, source = (one.detach().requires_grad_() for one in (states, source))
    found = part(states, Memories([source], memories.grid, memories.rows, memories.biases))
    (
        found * torch.linspace(-1, 1, found.numel(), dtype=found.dtype).to(found).view_as(found)
    ).sum().backward()
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


@given(MANY, MANY, MANY, MANY, st.integers(0, 999))
def test_rows_are_enough_and_take_about_the_least(
    texts: int, tokens: int, memories: int, keys: int, seed: int
) -> None:
    """Whichever text attends to which memory, all of them to one included."""
    (most, rows), used = rows_of_texts(texts, tokens, memories, keys), min(texts, memories)
    torch.manual_seed(seed)
    for places in (memories, 1 + seed % memories):
        counts = torch.bincount(torch.randint(places, (texts,)), minlength=memories)
        assert (counts + most - 1).div(most, rounding_mode="floor").sum() <= rows
    assert rows * most <= texts + used * (most - 1)

    def taken(each: int) -> float:
        return (texts + used * (each - 1)) * (keys / each + tokens)

    assert taken(most) <= 1.06 * min(map(taken, range(1, 2 * most + 2)))
    assert rows * (keys + most * tokens) <= texts * (keys + tokens)


def test_what_the_recipe_base_copies() -> None:
    """96 pairs, of which four texts each look at pictures, and five regions of each of 96 pictures."""
    assert rows_of_texts(384, 30, 96, 197) == (4, 168)
    assert rows_of_texts(2400, 30, 96, 202) == (13, 273)


def test_a_step_agrees(monkeypatch: pytest.MonkeyPatch) -> None:
    """The whole of it, on the ways of a GPU: pairs, and regions that see some patches."""
    torch.manual_seed(0)
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
    assert any(isinstance(one.grid, JoinedTexts) for one in made)
    torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("seen", [False, True])
def test_a_gpu_keeps_less_than_copies_take(seen: bool) -> None:
    """By its own kernels, in bfloat16, at the sizes of the recipe `base`: close numbers, less memory."""
    torch.manual_seed(0)
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
