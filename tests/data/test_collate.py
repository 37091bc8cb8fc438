"""Tensors of a batch: spans of patches, box targets, identities, padding."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from xfm.config.data import TokenMaskConfig
from xfm.data.collate import TextRow, TokenCache, box_targets, collate_tokens, patch_span, visible_patches
from xfm.data.tokenizer import train_tokenizer


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer(["a red cat sits here"] * 3, 300)


@given(st.integers(0, 95), st.integers(1, 96), st.sampled_from([6, 8, 12, 16, 96]))
def test_patch_span_of_whole_pixels(start, length, patch):
    end = min(start + length, 96)
    first, last = patch_span(start, end - start, patch, 96 // patch)
    assert (first, last) == (start // patch, math.ceil(end / patch))


@given(st.floats(-5, 110), st.floats(0, 110))
def test_patch_span_is_never_empty_nor_outside(start, length):
    first, last = patch_span(start, length, 12, 8)
    assert 0 <= first < last <= 8


def test_patch_span_forgives_rounding():
    assert patch_span(24 + 1e-9, 12, 12, 8) == (2, 3)
    assert patch_span(24 - 1e-9, 12, 12, 8) == (2, 3)


def test_collate_tokens_pads(tokenizer):
    rows = [TextRow(text, np.random.default_rng(0)) for text in ("a", "a red cat sits here", "", "cat " * 90)]
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


def test_no_rows_at_all(tokenizer):
    tokens, masked = collate_tokens([], TokenMaskConfig(0.5, 15, 30), TokenCache(tokenizer))
    assert len(tokens.ids) == len(tokens.mask) == len(masked.positions) == len(masked.labels) == 0
    assert {tokens.ids.dtype, masked.ids.dtype, masked.labels.dtype} == {torch.int64}
    assert visible_patches([], 12, 8).shape == (0, 64)
    assert box_targets([], 96).shape == (0, 4)


@pytest.mark.parametrize("texts", [["a"], ["a", "b"]])
def test_collate_tokens_without_masks_has_one_column(texts, tokenizer):
    rows = [TextRow("", np.random.default_rng(0)) for _ in texts]
    _, masked = collate_tokens(rows, TokenMaskConfig(0.5, 15, 30), TokenCache(tokenizer))
    assert masked.labels.tolist() == [[-100]] * len(texts)
