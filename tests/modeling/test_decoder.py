"""Laws of the causal decoder."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from tests.modeling.build import VOCAB, memories, random_tokens, tiny_model
from xfm.models.decoder import Decoder
from xfm.models.fusion import FusionLayer

WIDTH, IMAGE_WIDTH = 32, 24
EXACT = {"rtol": 0.0, "atol": 1e-6}


@pytest.fixture
def decoder() -> Decoder:
    return Decoder.from_fusion(tiny_model()).eval()


def reading(rows: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Ids and mask of texts, a memory for each and its mask."""
    tokens, _ = random_tokens(rows)
    return tokens.ids, tokens.mask, *memories(rows)


@torch.no_grad()
@given(st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=25)
def test_a_later_token_does_not_change_earlier_logits(position: int, seed: int) -> None:
    torch.manual_seed(seed)
    decoder = Decoder.from_fusion(tiny_model()).eval()
    ids, mask = torch.randint(4, VOCAB - 1, (3, 7)), torch.ones(3, 7, dtype=torch.bool)
    memory, memory_mask = memories(3)
    changed = ids.clone()
    changed[:, position] = (ids[:, position] - 4 + 1) % (VOCAB - 5) + 4
    before, after = (decoder(i, mask, memory, memory_mask) for i in (ids, changed))
    torch.testing.assert_close(before[:, :position], after[:, :position], **EXACT)
    assert not torch.allclose(before[:, position:], after[:, position:], atol=1e-4)


@torch.no_grad()
def test_a_prefix_gives_the_same_logits_as_the_whole(decoder: Decoder) -> None:
    ids, mask, *memory = reading(4)
    whole = decoder(ids, mask, *memory)
    for length in range(1, ids.shape[1] + 1):
        real = mask[:, :length]
        prefix = decoder(ids[:, :length], real, *memory)
        torch.testing.assert_close(prefix[real], whole[:, :length][real], **EXACT)


@torch.no_grad()
@pytest.mark.parametrize(
    "index", [[0, 1, 2, 0], [2, 2, 1, 0, 2, 2, 0, 1, 1, 2, 0, 2]], ids=["copied", "side by side"]
)
def test_an_index_is_repeated_memories(decoder: Decoder, index: list[int]) -> None:
    picked = torch.tensor(index)
    tokens, _ = random_tokens(len(index))
    memory, memory_mask = memories(3)
    shared = decoder(tokens.ids, tokens.mask, memory, memory_mask, picked)
    repeated = decoder(tokens.ids, tokens.mask, memory[picked], memory_mask[picked])
    torch.testing.assert_close(shared, repeated, **EXACT)


@torch.no_grad()
@pytest.mark.parametrize("rows", [3, 12])
def test_padding_of_the_memory_does_not_matter(decoder: Decoder, rows: int) -> None:
    tokens, _ = random_tokens(rows)
    index = torch.arange(rows) % 3
    memory, memory_mask = memories(3)
    plain = decoder(tokens.ids, tokens.mask, memory, memory_mask, index)
    noise = torch.where(memory_mask[..., None], memory, 100 * torch.randn_like(memory))
    torch.testing.assert_close(decoder(tokens.ids, tokens.mask, noise, memory_mask, index), plain, **EXACT)
    longer = torch.cat([memory, torch.randn(3, 4, WIDTH)], dim=1)
    mask = torch.cat([memory_mask, torch.zeros(3, 4, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(decoder(tokens.ids, tokens.mask, longer, mask, index), plain, **EXACT)
    other = torch.where(memory_mask[..., None], memory + torch.randn_like(memory), memory)
    assert not torch.allclose(decoder(tokens.ids, tokens.mask, other, memory_mask, index), plain, atol=1e-4)


def parts(decoder: Decoder) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in decoder.state_dict().items()}


def test_it_starts_from_the_fusion_encoder_and_is_independent_of_it() -> None:
    model = tiny_model()
    decoder = Decoder.from_fusion(model, IMAGE_WIDTH)  # a memory of the width that fusion attends to
    source = model.fusion.state_dict() | {f"head.{n}": v for n, v in model.fusion_head.state_dict().items()}
    copied = parts(decoder)
    assert copied.keys() == source.keys()
    assert all(torch.equal(copied[name], value) for name, value in source.items())
    own = {parameter.data_ptr() for parameter in decoder.parameters()}
    assert not own & {parameter.data_ptr() for parameter in model.parameters()}

    before = {name: value.clone() for name, value in model.state_dict().items()}
    tokens, _ = random_tokens(3)
    memory, memory_mask = memories(3, width=IMAGE_WIDTH)
    decoder(tokens.ids, tokens.mask, memory, memory_mask).square().sum().backward()
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.optim.SGD(decoder.parameters(), 0.1).step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    changed = [name for name, value in parts(decoder).items() if not torch.equal(value, copied[name])]
    assert "embeddings.words.weight" in changed
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    assert parts(decoder)["embeddings.words.weight"].any()


@pytest.mark.parametrize("width", [IMAGE_WIDTH, 20])
def test_a_memory_of_another_width_gets_fresh_keys_and_values_only(width: int) -> None:
    model = tiny_model()
    decoder = Decoder.from_fusion(model, width)
    source = model.fusion.state_dict()
    for name, value in parts(decoder).items():
        if name.startswith("head."):
            continue
        if "key_value" in name and width != IMAGE_WIDTH:
            assert value.shape == ((2 * WIDTH, width) if name.endswith("weight") else (2 * WIDTH,))
            assert not value.any() or abs(value.std().item() - 0.02) < 0.005
        else:
            assert torch.equal(value, source[name]), name
    layers = [layer for layer in decoder.layers if isinstance(layer, FusionLayer)]
    assert len({layer.cross_attention.key_value.weight.data_ptr() for layer in layers}) == 2
    tokens, _ = random_tokens(3)
    memory, memory_mask = memories(3, width=width)
    assert decoder(tokens.ids, tokens.mask, memory, memory_mask).shape == (3, 7, VOCAB)
