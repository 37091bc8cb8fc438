"""The causal decoder, and search with it, against exhaustive search and the generate of transformers."""

import itertools
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    RobertaForCausalLM,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from tests.modeling.build import (
    VOCAB,
    memories,
    random_tokens,
    roberta_config,
    spread,
    tiny_config,
    tiny_model,
)
from xfm.config.inference import Generation
from xfm.config.task import TaskConfig
from xfm.models.decoder import CachedDecoder, Decoder
from xfm.models.fusion import FusionLayer
from xfm.models.generation import GeneratedTexts, SpecialTokens, choose, generate, narrow
from xfm.models.interop.published.names import to_published
from xfm.models.xfm import XFM

WIDTH, IMAGE_WIDTH = 32, 24
EXACT = {"rtol": 0.0, "atol": 1e-6}


@pytest.fixture
def decoder() -> Decoder:
    return Decoder(tiny_model()).eval()


@torch.no_grad()
@given(st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=25)
def test_a_later_token_does_not_change_earlier_logits(position: int, seed: int) -> None:
    torch.manual_seed(seed)
    decoder = Decoder(tiny_model()).eval()
    ids, mask = torch.randint(4, VOCAB - 1, (3, 7)), torch.ones(3, 7, dtype=torch.bool)
    memory, memory_mask = memories(3)
    changed = ids.clone()
    changed[:, position] = (ids[:, position] - 4 + 1) % (VOCAB - 5) + 4
    before, after = (decoder(i, mask, memory, memory_mask) for i in (ids, changed))
    torch.testing.assert_close(before[:, :position], after[:, :position], **EXACT)
    assert not torch.allclose(before[:, position:], after[:, position:], atol=1e-4)


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
    decoder = Decoder(model, IMAGE_WIDTH)  # a memory of the width that fusion attends to
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
    decoder = Decoder(model, width)
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


BEGIN, PAD, END = 0, 1, 2
MARKS = SpecialTokens(BEGIN, END, PAD, (0, 1, 3))
WIDE = {"rtol": 1e-5, "atol": 1e-5}  # scores add up log-likelihoods, in float32


def build(seed: int, vocabulary: int = 12) -> tuple[XFM, Decoder]:
    """A decoder whose tokens differ enough to be chosen between."""
    torch.manual_seed(seed)
    config = tiny_config()
    model = XFM(replace(config, language=replace(config.language, vocab_size=vocabulary)))
    decoder = Decoder(model).eval()
    spread(decoder, 0.25)
    return model, decoder


def started(seed: int, count: int, vocabulary: int = 12) -> tuple[Decoder, Tensor, Tensor]:
    """A decoder, what it attends to, and the mask of that."""
    return build(seed, vocabulary)[1], *memories(count)


def texts(found: GeneratedTexts) -> list[list[list[int]]]:
    return [
        [ids[mask].tolist() for ids, mask in zip(rows, masks, strict=True)]
        for rows, masks in zip(found.ids, found.mask, strict=True)
    ]


@torch.no_grad()
def likelihoods(decoder: Decoder, rows: list[list[int]], memory: Tensor, mask: Tensor) -> list[float]:
    """Log-likelihoods of the tokens after the first, by one pass over the whole texts."""
    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(row) for row in rows], True, PAD)
    real = torch.arange(ids.shape[1]) < lengths[:, None]
    logits = decoder(ids, real, memory[None], mask[None], torch.zeros(len(rows), dtype=torch.int64))
    chosen = logits[:, :-1].log_softmax(-1).gather(-1, ids[:, 1:, None])[..., 0]
    return (chosen * real[:, 1:]).sum(1).tolist()


@torch.no_grad()
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(1, 4))
@settings(max_examples=25)
def test_the_cache_changes_nothing(seed: int, count: int, each: int) -> None:
    """Texts grow, change places and grow on: the logits are those of reading everything again."""
    decoder, memory, mask = started(seed, count)
    cached = CachedDecoder(decoder, memory, mask, each)
    ids = torch.zeros(count * each, 1, dtype=torch.int64)
    owner = torch.arange(count).repeat_interleave(each)
    for _ in range(6):
        everything = decoder(ids, torch.ones_like(ids, dtype=torch.bool), memory, mask, owner)[:, -1]
        torch.testing.assert_close(cached.step(ids), everything, **WIDE)
        rows = owner * each + torch.randint(each, (count * each,))
        cached.reorder(rows)
        ids = torch.cat([ids[rows], torch.randint(4, 12, (count * each, 1))], dim=1)


@given(st.integers(0, 10_000), st.sampled_from([-0.5, 0.0, 0.7, 1.0, 2.0]), st.integers(2, 4))
@settings(max_examples=20)
def test_enough_beams_find_what_an_exhaustive_search_finds(seed: int, penalty: float, shortest: int) -> None:
    decoder, memory, mask = started(seed, 2, vocabulary=6)  # two ordinary tokens, 4 and 5
    longest = 5
    how = Generation(longest, shortest, texts=4, beams=16, length_penalty=penalty)
    found = generate(decoder, memory, mask, MARKS, how)
    for place in range(2):
        every = [
            [BEGIN, *middle, END]
            for length in range(shortest - 2, longest - 1)
            for middle in itertools.product((4, 5), repeat=length)
        ] + [[BEGIN, *whole] for whole in itertools.product((4, 5), repeat=longest - 1)]
        found_by = likelihoods(decoder, every, memory[place], mask[place])
        scores = {
            tuple(text): value / (len(text) - 1) ** penalty
            for text, value in zip(every, found_by, strict=True)
        }
        best = sorted(scores, key=lambda text: -scores[text])[:4]
        torch.testing.assert_close(found.scores[place], torch.tensor([scores[text] for text in best]), **WIDE)
        assert [tuple(text) for text in texts(found)[place]] == best


class Reference(RobertaForCausalLM):
    """Counts positions itself: generate() would count from 0, and RoBERTa counts from 2."""

    def forward(  # type: ignore[override]
        self,
        input_ids: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        position_ids: Tensor | None = None,
        **more: Any,
    ) -> Any:
        memory = {
            "encoder_hidden_states": encoder_hidden_states,
            "encoder_attention_mask": encoder_attention_mask,
        }
        return super().forward(input_ids, **memory, **more)


def as_transformers(model: XFM, decoder: Decoder) -> RobertaForCausalLM:
    """The decoder's weights in RoBERTa's causal decoder with cross-attention."""
    c = model.config
    config = roberta_config(c.language, c.fusion, is_decoder=True, add_cross_attention=True)
    reference = Reference(config).eval()
    native = {f"task.decoder.{name}": tensor for name, tensor in decoder.state_dict().items()}
    published = to_published(native, model.config, TaskConfig("vqa"))
    state = {name.removeprefix("text_decoder."): tensor for name, tensor in published.items()}
    missing, unexpected = reference.load_state_dict(state, strict=False)
    assert not unexpected
    assert all("position_ids" in name or "lm_head.decoder" in name for name in missing)
    reference.tie_weights()
    reference.lm_head.decoder.bias = reference.lm_head.bias
    return reference


@torch.no_grad()
@pytest.mark.parametrize(("beams", "penalty"), [(1, 0.0), (3, 1.0), (4, 2.0)])
@given(seed=st.integers(0, 10_000))
@settings(max_examples=8)
def test_beam_search_equals_transformers(seed: int, beams: int, penalty: float) -> None:
    """One beam is the greedy choice, which stops at its first end, where no longer text can score higher."""
    model, decoder = build(seed, vocabulary=20)
    memory, mask = memories(3)
    decoder, memory = decoder.double(), memory.double()  # in float32, one search in a thousand meets a tie
    how = Generation(9, 4, texts=beams, beams=beams, length_penalty=penalty)
    found = generate(decoder, memory, mask, MARKS, how)
    expected = as_transformers(model, decoder).double().generate(
        torch.full((3, 1), BEGIN), encoder_hidden_states=memory, encoder_attention_mask=mask.long(),
        num_beams=beams, num_return_sequences=beams, max_length=how.max_tokens, min_length=how.min_tokens - 1,
        length_penalty=penalty, early_stopping="never", do_sample=False, suppress_tokens=list(MARKS.banned),
        return_dict_in_generate=True, output_scores=True, use_cache=False,
    )  # fmt: skip
    theirs = [row[: row.tolist().index(END) + 1] if END in row else row for row in expected.sequences]
    ours = [text for rows in texts(found) for text in rows]
    assert ours == [row.tolist() for row in theirs]
    if beams > 1:
        torch.testing.assert_close(found.scores.flatten(), expected.sequences_scores, **WIDE)


@given(st.integers(0, 10_000), st.floats(0.3, 3), st.integers(0, 14), st.floats(0.05, 0.99) | st.just(1.0))
@settings(max_examples=60)
def test_cuts_equal_those_of_transformers(seed: int, temperature: float, top_k: int, top_p: float) -> None:
    torch.manual_seed(seed)
    logits = torch.randn(4, 12) * 2
    how = Generation(temperature=temperature, top_k=top_k, top_p=top_p)
    warpers = LogitsProcessorList([TemperatureLogitsWarper(temperature)])
    if top_k:
        warpers.append(TopKLogitsWarper(top_k))
    if top_p < 1:
        warpers.append(TopPLogitsWarper(top_p))
    torch.testing.assert_close(narrow(logits, how), warpers(torch.zeros(4, 1).long(), logits))


@torch.no_grad()
@given(st.integers(0, 10_000), st.integers(1, 3), st.integers(2, 8))
@settings(max_examples=25)
def test_sampling_equals_a_plain_loop(seed: int, each: int, shortest: int) -> None:
    """The same draws, one text at a time, every text read again at every step."""
    decoder, memory, mask = started(seed, 2)
    how = Generation(8, shortest, each, sample=True, temperature=1.5, top_k=6, top_p=0.9)
    draws = torch.rand(2, each, 7)
    found = generate(decoder, memory, mask, MARKS, how, draws)
    for place in range(2):
        expected: list[tuple[float, list[int]]] = []
        for row in range(each):
            text = [BEGIN]
            while len(text) < 8 and text[-1] != END:
                ids = torch.tensor([text])
                seen = torch.ones_like(ids, dtype=torch.bool)
                logits = decoder(ids, seen, memory[place, None], mask[place, None])[:, -1]
                logits[:, list(MARKS.banned)] = -torch.inf
                if len(text) + 1 < shortest:
                    logits[:, END] = -torch.inf
                share = narrow(logits, how).softmax(-1)
                text.append(int(choose(share, draws[place, row, len(text) - 1, None])))
            expected.append((likelihoods(decoder, [text], memory[place], mask[place])[0], text))
        expected.sort(key=lambda pair: -pair[0])
        assert texts(found)[place] == [text for _, text in expected]
        scores = torch.tensor([score for score, _ in expected])
        torch.testing.assert_close(found.scores[place], scores, **WIDE)


@pytest.mark.parametrize("how", [Generation(8, texts=2), Generation(8, texts=2, sample=True, top_k=5)])
def test_a_text_does_not_depend_on_what_is_beside_it(how: Generation) -> None:
    decoder, memory, mask = started(3, 6)
    draws = torch.rand(6, 2, 7)
    together = generate(decoder, memory, mask, MARKS, how, draws)
    for place in range(6):
        row = slice(place, place + 1)
        alone = generate(decoder, memory[row], mask[row], MARKS, how, draws[row])
        assert texts(alone)[0] == texts(together)[place]
