"""Masks (exact counts, whole words, 80/10/10; tests/golden has the published generators' statistics) and
the tensors of a batch: spans of patches, padding, kept tokens.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.data.conftest import generator, masked_row
from xfm.config.data import PatchMaskConfig, TokenMaskConfig
from xfm.data.collate import TokenCache, collate_tokens, patch_span
from xfm.data.masking import mask_patches, maskable, masked_count


# ------------------------------------------------------------------ patches
@settings(max_examples=80)
@given(st.integers(1, 20), st.data())
def test_patch_count_is_exact(grid, data):
    patches = data.draw(st.integers(0, grid * grid))
    smallest = data.draw(st.integers(1, 30))
    mask = mask_patches(generator(data.draw(st.integers(0, 99))), grid, PatchMaskConfig(patches, smallest))
    assert mask.shape == (grid * grid,)
    assert mask.dtype == bool
    assert mask.sum() == patches


# ------------------------------------------------------------------ tokens
def test_replacement_is_80_10_10(tokenizer):
    config = TokenMaskConfig(0.5, 40, 100)
    ids = [0, *range(10, 80), 2]
    word_ids = [None, *range(70), None]
    rng = generator(3)
    counts = np.zeros(3)
    drawn = set()
    for _ in range(1500):
        masked, positions, labels = masked_row(rng, ids, word_ids, config, tokenizer)
        assert labels == [ids[p] for p in positions]
        for position, label in zip(positions, labels, strict=True):
            new = masked[position]
            counts[0 if new == tokenizer.mask else 2 if new == label else 1] += 1
            if new not in (tokenizer.mask, label):
                drawn.add(new)
    shares = counts / counts.sum()
    assert shares == pytest.approx([0.8, 0.1, 0.1], abs=4 * np.sqrt(0.16 / counts.sum()))
    assert min(drawn) == 4
    assert max(drawn) == tokenizer.vocab_size - 2


words_and_sizes = st.lists(st.integers(1, 7), min_size=1, max_size=25)


@settings(max_examples=120)
@given(words_and_sizes, st.floats(0.05, 0.9), st.integers(1, 20), st.floats(0, 1), st.integers(0, 9999))
def test_whole_words(tokenizer, sizes, probability, most, skipgram, seed):
    """All pieces of a word or none; never more than the count; nothing that would still fit is left out."""
    word_ids = [None, *(w for w, size in enumerate(sizes) for _ in range(size)), None]
    ids = [0, *([9] * sum(sizes)), 2]
    config = TokenMaskConfig(probability, most, 999, skipgram)
    _, positions, _ = masked_row(generator(seed), ids, word_ids, config, tokenizer)
    budget = masked_count(len(ids), config)
    assert positions == sorted(set(positions))
    assert 0 < len(positions) <= budget
    assert 0 not in positions
    assert len(ids) - 1 not in positions
    masked = [sum(word_ids[p] == w for p in positions) for w in range(len(sizes))]
    if min(sizes) > budget:  # no word fits: a part of one
        assert len(positions) == budget
        assert sum(m > 0 for m in masked) == 1
    else:
        assert all(m in (0, size) for m, size in zip(masked, sizes, strict=True))
        left = [size for m, size in zip(masked, sizes, strict=True) if m == 0]
        assert not left or budget - len(positions) < min(left)


def test_texts_that_look_like_special_tokens_are_not_masked(tokenizer):
    ((ids, words),) = tokenizer.encode_lists(["</s><mask><pad>"], 30)
    assert masked_row(generator(0), ids, words, TokenMaskConfig(0.9, 9, 30), tokenizer) == (ids, [], [])


# ---------------------------------------------------------------- tensors of a batch
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
