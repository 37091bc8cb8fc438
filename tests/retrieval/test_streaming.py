"""Streamed retrieval gives what the evaluation in memory gives."""

from itertools import product

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.evaluation.tiny import COLOURS, tiny_pretrained
from xfm.config.training import Precision
from xfm.errors import UserError
from xfm.metrics.recalls import Rule, own_captions, with_equal_captions
from xfm.modeling.features import Encoder, encode_images, encode_texts, tokenize_captions
from xfm.retrieval import streaming
from xfm.retrieval.in_memory import evaluate_scores, score_all
from xfm.retrieval.states import StateFile
from xfm.retrieval.streaming import Found, rerank, stream_retrieval

PRETRAINED = tiny_pretrained()
ENCODER = Encoder(PRETRAINED.model, PRETRAINED.tokenizer, Precision.FP32, batch_size=3)


def captions(rng: np.random.Generator, count: int, distinct: bool) -> list[str]:
    """Of one to three squares."""
    names = [f"a {name} square" for name in COLOURS]
    known = [" left of ".join(words) for size in (1, 2, 3) for words in product(names, repeat=size)]
    return [known[place] for place in rng.choice(len(known), count, replace=not distinct)]


@settings(deadline=None, max_examples=25)
@given(
    pictures=st.integers(1, 9),
    per_picture=st.integers(1, 3),
    shortlist=st.integers(1, 12),
    block=st.sampled_from([1, 7, 1 << 20]),
    equal=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_streamed_is_in_memory(pictures, per_picture, shortlist, block, equal, seed):
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(pictures), rng.integers(0, pictures, pictures * (per_picture - 1))])
    # Others that tie with a query's own caption are ordered by the last digit of a product.
    texts = captions(rng, len(owner), distinct=not equal)
    positives = with_equal_captions(owner, texts, pictures) if equal else own_captions(owner, pictures)
    pixels = torch.from_numpy(rng.normal(size=(pictures, 3, 32, 32)).astype(np.float32))
    images = encode_images(ENCODER, pixels.split(2), pictures)
    features = encode_texts(ENCODER, tokenize_captions(PRETRAINED.tokenizer, texts))
    expected = evaluate_scores(score_all(ENCODER, images, features, shortlist), positives.toarray(), 20, 1)
    before, streaming.BLOCK = streaming.BLOCK, block
    try:
        found = stream_retrieval(
            ENCODER, pixels.split(2), texts, positives, shortlist=shortlist, resamples=20, seed=1
        )
    finally:
        streaming.BLOCK = before
    for direction in ("text", "image"):
        for rule in Rule:
            assert np.array_equal(found.ranks[direction][rule], expected.ranks[direction][rule]), rule
    assert found.recalls == expected.recalls
    assert found.gain == expected.gain
    assert found.chances == expected.chances


def test_ranks_of_a_shortlist_are_those_of_the_whole_order():
    """The third candidate of four is the query's own, on the shortlist or beyond it."""
    contrast, logits = np.array([[0.9, 0.8]], np.float32), np.array([[[0.0, 1.0], [0.0, 3.0]]], np.float32)
    short, own = np.array([[0, 1]], np.int32), np.array([[True, False]])
    on = Found(short, contrast, own, np.array([0]), np.array([0]))
    assert rerank(on, logits, 1.0).ranks[Rule.MATCHING].tolist() == [1]
    off = Found(short, contrast, np.array([[False, False]]), np.array([2]), np.array([1]))
    found = rerank(off, logits, 1.0)
    assert found.first.tolist() == [1]
    assert {rule: ranks.tolist() for rule, ranks in found.ranks.items()} == {
        Rule.CONTRAST: [2], Rule.RERANK: [3], Rule.MATCHING: [3]
    }  # fmt: skip


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    dtype=st.sampled_from([torch.bfloat16, torch.float32]),
    seed=st.integers(0, 99),
)
def test_states_come_back_as_they_were(tmp_path_factory, lengths, dtype, seed):
    torch.manual_seed(seed)
    states = torch.randn(len(lengths), max(lengths), 5).to(dtype)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    file = StateFile(tmp_path_factory.mktemp("states"), 5)
    half = len(lengths) // 2
    for part in (slice(0, half), slice(half, None)):
        if len(states[part]):
            file.append(states[part], mask[part])
    rows = np.random.default_rng(seed).integers(0, len(lengths), 9)
    found, real = file.read(rows)
    assert found.dtype is dtype
    assert len(file) == len(lengths)
    assert file.bytes == sum(lengths) * 5 * dtype.itemsize
    for row, values, is_real in zip(rows, found, real, strict=True):
        assert is_real.sum() == lengths[row]
        assert torch.equal(values[is_real], states[row][mask[row]])
    file.append(states, mask)  # reading does not end the writing
    assert torch.equal(file.read(np.array([len(lengths)]))[0][0], states[0][mask[0]])


def test_nothing_stays_on_the_disk(tmp_path):
    texts = ["a red square", "a blue square"]
    pixels = [torch.randn(2, 3, 32, 32)]
    stream_retrieval(ENCODER, pixels, texts, own_captions([0, 1], 2), shortlist=1, scratch=tmp_path)
    assert not [*tmp_path.iterdir()]


def test_a_full_disk_is_said(tmp_path, monkeypatch):
    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(StateFile, "append", full)
    with pytest.raises(UserError, match="disk is full"):
        stream_retrieval(
            ENCODER, [torch.randn(1, 3, 32, 32)], ["a"], own_captions([0], 1), shortlist=1, scratch=tmp_path
        )


def test_captions_and_their_owners():
    own = own_captions([0, 1, 1], 2)
    assert own.toarray().tolist() == [[True, False, False], [False, True, True]]
    shared = with_equal_captions([0, 1, 1], ["a", "a", "b"], 2)
    assert shared.toarray().tolist() == [[True, True, False], [True, True, True]]
