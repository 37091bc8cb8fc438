"""Tensors of a batch: spans of patches, box targets, identities, padding."""

import math

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from xfm.config.data import TokenMaskConfig
from xfm.data.collate import TokenCache, collate_tokens, patch_span
from xfm.data.masking import maskable


@given(st.integers(0, 95), st.integers(1, 96), st.sampled_from([6, 8, 12, 16, 96]))
def test_patch_span_of_whole_pixels(start, length, patch):
    end = min(start + length, 96)
    first, last = patch_span(start, end - start, patch, 96 // patch)
    assert (first, last) == (start // patch, math.ceil(end / patch))


@given(st.floats(-5, 110), st.floats(0, 110))
def test_patch_span_is_never_empty_nor_outside(start, length):
    first, last = patch_span(start, length, 12, 8)
    assert 0 <= first < last <= 8


def test_collate_tokens_pads(tokenizer):
    rows = [(text, np.random.default_rng(0)) for text in ("a", "a red cat sits here", "", "cat " * 90)]
    tokens, masked = collate_tokens(rows, TokenMaskConfig(0.5, 15, 30), TokenCache(tokenizer))
    assert tokens.ids.shape == tokens.mask.shape == masked.ids.shape == (4, 30)
    assert tokens.mask.sum(1).tolist()[2:] == [2, 30]
    assert (tokens.ids[~tokens.mask] == tokenizer.pad).all()
    assert masked.positions.shape == masked.labels.shape == (4, 15)
    for row in range(4):
        kept = masked.labels[row] != -100
        positions = masked.positions[row][kept]
        assert torch.equal(tokens.ids[row][positions], masked.labels[row][kept])
        assert (masked.positions[row][~kept] == 0).all()
        untouched = torch.ones(30, dtype=torch.bool)
        untouched[positions] = False
        assert torch.equal(tokens.ids[row][untouched], masked.ids[row][untouched])
    assert (masked.labels[2] == -100).all()
    assert (masked.labels != -100).sum(1).tolist()[3] == 15


# ------------------------------------------------------------------ kept tokens
texts = st.lists(st.text(st.sampled_from("a cat house. </s> 你é"), max_size=30), max_size=6)


@settings(max_examples=40)
@given(st.lists(st.tuples(texts, st.integers(2, 12), st.booleans()), max_size=6), st.integers(0, 60))
def test_as_the_tokenizer_says(tokenizer, calls, room):
    known = TokenCache(tokenizer, room)
    for rows, longest, whole in calls * 2:
        found = known.read(rows, longest, whole)
        encoded = tokenizer.encode_lists(rows, longest)
        assert found == [(ids, maskable(ids, words, whole, tokenizer)) for ids, words in encoded]


def test_a_text_is_tokenised_once(tokenizer, monkeypatch):
    asked: list[str] = []
    encode = tokenizer.encode_lists
    monkeypatch.setattr(
        tokenizer, "encode_lists", lambda rows, longest: asked.extend(rows) or encode(rows, longest)
    )
    known = TokenCache(tokenizer)
    first = known.read(["a cat", "a house", "a cat"], 9, True)
    assert known.read(["a house", "a cat"], 9, True) == [first[1], first[0]]
    assert asked == ["a cat", "a house"]
    known.read(["a cat"], 3, True)
    known.read(["a cat"], 9, False)
    assert asked == ["a cat", "a house", "a cat", "a cat"]
