"""Ranks of right answers equal those of a computation pair by pair, wherever the states lie."""

from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from tests.evaluation.tiny import COLOURS, tiny_pretrained
from xfm.config.training import Precision
from xfm.core.errors import UserError
from xfm.metrics.recalls import Rule, own_captions, with_equal_captions
from xfm.models import features
from xfm.models.features import EncodedItems, Encoder, encode_images, encode_texts, tokenize_captions
from xfm.tasks import ranking as ranks
from xfm.tasks.ranking import (
    MATCHING_WEIGHT,
    ContrastiveSearch,
    MatchedSearch,
    Ranking,
    match,
    rank,
    rerank_scores,
)

PRETRAINED = tiny_pretrained()
ENCODER = Encoder(PRETRAINED.model, PRETRAINED.tokenizer, Precision.FP32, batch_size=3)
NAMES = [f"a {name} square" for name in COLOURS]
CAPTIONS = [" left of ".join(words) for size in (1, 2, 3) for words in product(NAMES, repeat=size)]


def encode(pixels: Tensor, texts: list[str], folder: Path | None = None) -> tuple[EncodedItems, EncodedItems]:
    images = encode_images(ENCODER, pixels.split(2), len(pixels), folder)
    return images, encode_texts(ENCODER, texts, folder=folder)


def pixels_of(rng: np.random.Generator, count: int) -> Tensor:
    return torch.from_numpy(rng.normal(size=(count, 3, 32, 32)).astype(np.float32))


@torch.no_grad()
def pair_by_pair(pixels: Tensor, texts: list[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contrastive score [I, R] and matching logits [I, R, 2] of every pair, without padding."""
    model, found = PRETRAINED.model, []
    for picture, text in product(pixels.split(1), texts):
        tokens = tokenize_captions(PRETRAINED.tokenizer, [text])
        ids, mask = (row[tokens.mask][None] for row in (tokens.ids, tokens.mask))
        contrast = (model.embed_image(picture) * model.embed_text(ids, mask)).sum()
        fused = model.fuse(model.encode_text(ids, mask), mask, model.encode_image(picture))
        found.append([contrast.item(), *model.itm_head(fused[:, 0])[0].tolist()])
    values = np.array(found).reshape(len(pixels), len(texts), 3)
    return values[..., 0], values[..., 1:]


def expected_order(contrast: NDArray[np.float64], scores: NDArray[np.float64], size: int) -> list[int]:
    """Candidates of one query: the best by contrast ordered again by `scores`, then the others."""
    best = np.argsort(-contrast, kind="stable").tolist()
    return [*sorted(best[:size], key=lambda place: -scores[place]), *best[size:]]


@pytest.mark.parametrize("folder", [None, Path()], ids=["memory", "file"])
@pytest.mark.parametrize("size", [1, 3, 99])
def test_ranks_are_those_of_all_pairs(size: int, folder: Path | None, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    pixels, owner = pixels_of(rng, 5), np.array([0, 1, 2, 3, 4, 0, 2])
    texts = [CAPTIONS[place] for place in rng.choice(len(CAPTIONS), len(owner), replace=False)]
    scratch = None if folder is None else tmp_path
    positives = own_captions(owner, 5)
    found = rank(ENCODER, *encode(pixels, texts, scratch), positives, size)
    contrast, logits = pair_by_pair(pixels, texts)
    combined = contrast / PRETRAINED.model.temperature.item() + MATCHING_WEIGHT * np.diff(logits)[..., 0]
    rules = {Rule.CONTRAST: contrast, Rule.RERANK: combined, Rule.MATCHING: logits[..., 1]}
    of_texts = {rule: scores.T for rule, scores in rules.items()}
    right = positives.toarray()
    for ranked, matrices, own in zip(found, (rules, of_texts), (right, right.T), strict=True):
        for rule, scores in matrices.items():
            lines = zip(matrices[Rule.CONTRAST], scores, strict=True)
            orders = np.array([expected_order(by_contrast, better, size) for by_contrast, better in lines])
            first = np.take_along_axis(own, orders, axis=1).argmax(axis=1)
            assert ranked.ranks[rule].tolist() == first.tolist()
            if rule is Rule.RERANK:
                assert ranked.order.tolist() == orders[:, :size].tolist()


@settings(deadline=None, max_examples=20)
@given(
    pictures=st.integers(1, 9),
    per_picture=st.integers(1, 3),
    size=st.integers(1, 12),
    block=st.sampled_from([1, 7, 1 << 20]),
    equal=st.booleans(),
    seed=st.integers(0, 2**16),
)
def test_neither_file_nor_block_changes_anything(
    tmp_path_factory, pictures, per_picture, size, block, equal, seed
):
    rng = np.random.default_rng(seed)
    owner = np.concatenate([np.arange(pictures), rng.integers(0, pictures, pictures * (per_picture - 1))])
    texts = [CAPTIONS[place] for place in rng.choice(len(CAPTIONS), len(owner), replace=equal)]
    positives = with_equal_captions(owner, texts, pictures) if equal else own_captions(owner, pictures)
    pixels, found = pixels_of(rng, pictures), list[tuple[Ranking, Ranking]]()
    for scratch, scores in ((None, 1 << 20), (tmp_path_factory.mktemp("states"), block)):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(ranks, "BLOCK", scores)
            found.append(rank(ENCODER, *encode(pixels, texts, scratch), positives, size))
        if scratch:
            assert not [*scratch.iterdir()]
    for one, other in zip(*found, strict=True):
        assert np.array_equal(one.order, other.order)
        assert all(np.array_equal(one.ranks[rule], other.ranks[rule]) for rule in Rule)


def test_ranks_of_a_shortlist_are_those_of_the_whole_order():
    """The third candidate of four is the query's own, on the shortlist or beyond it."""
    contrast, logits = np.array([[0.9, 0.8]], np.float32), np.array([[[0.0, 1.0], [0.0, 3.0]]], np.float32)
    short, own = np.array([[0, 1]], np.int32), np.array([[True, False]])
    on = MatchedSearch(ContrastiveSearch(short, contrast, own, np.array([0]), np.array([0])), logits, 1.0)
    assert on.ranks(logits[..., 1]).tolist() == [1]
    nothing = np.array([[False, False]])
    off = MatchedSearch(
        ContrastiveSearch(short, contrast, nothing, np.array([2]), np.array([1])), logits, 1.0
    )
    assert off.ranks(logits[..., 1]).tolist() == off.ranks(off.scores()).tolist() == [3]


def test_chosen_pairs_come_back_in_their_order() -> None:
    pixels, texts = pixels_of(np.random.default_rng(1), 4), CAPTIONS[3:8]
    _, logits = pair_by_pair(pixels, texts)
    image, text = np.array([[3, 0], [0, 4], [3, 2], [1, 1], [0, 0], [2, 3], [3, 0]] * 3).T
    images, captions = encode(pixels, texts)
    found = match(ENCODER, images.states, captions.states, image, text)
    np.testing.assert_allclose(found, logits[image, text], atol=1e-5)


def test_states_are_kept_in_bf16_in_bf16_arithmetic() -> None:
    pixels, texts = pixels_of(np.random.default_rng(2), 2), CAPTIONS[:3]
    encoder = Encoder(PRETRAINED.model, PRETRAINED.tokenizer, Precision.BF16)
    images, captions = encode_images(encoder, [pixels], 2), encode_texts(encoder, texts)
    rows = np.array([0])
    assert images.states.read(rows)[0].dtype is captions.states.read(rows)[0].dtype is torch.bfloat16
    assert images.vectors.dtype is captions.vectors.dtype is torch.float32
    contrast, logits = pair_by_pair(pixels, texts)
    image, text = np.indices(contrast.shape).reshape(2, -1)
    found = match(encoder, images.states, captions.states, image, text)
    np.testing.assert_allclose(found.reshape(logits.shape), logits, atol=0.05)
    np.testing.assert_allclose(images.vectors @ captions.vectors.T, contrast, atol=0.05)


def test_a_full_disk_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Path("/dev/full").open("wb")  # noqa: SIM115
    monkeypatch.setattr(features, "TemporaryFile", lambda dir: full)
    with pytest.raises(UserError, match="disk is full"):
        encode_texts(ENCODER, CAPTIONS[:2], folder=tmp_path)


def test_the_corrected_order_is_right_when_negatives_follow_itc() -> None:
    """With an ideal matching head (log-odds of truth against ITC's draws) the rule gives the true order."""
    rng = np.random.default_rng(3)
    temperature = 0.1
    contrast, truth = rng.uniform(-1, 1, (2, 50))
    believed = contrast / temperature - np.logaddexp.reduce(contrast / temperature)
    logits = np.stack([rng.normal(size=50), np.zeros(50)], axis=-1)
    logits[:, 1] = logits[:, 0] + np.log(truth + 1) - believed
    scores = rerank_scores(contrast, logits, temperature, weight=1.0)
    assert np.argsort(scores).tolist() == np.argsort(truth).tolist()
    alone, half = (rerank_scores(contrast, logits, temperature, weight) for weight in (0.0, 0.5))
    np.testing.assert_allclose(alone, contrast / temperature)
    np.testing.assert_allclose(half, (alone + scores) / 2)


@settings(deadline=None, max_examples=30)
@given(
    lengths=st.lists(st.integers(1, 6), min_size=1, max_size=12),
    dtype=st.sampled_from([torch.bfloat16, torch.float32]),
    in_file=st.booleans(),
    seed=st.integers(0, 99),
)
def test_states_come_back_as_they_were(tmp_path_factory, lengths, dtype, in_file, seed):
    torch.manual_seed(seed)
    values = torch.randn(len(lengths), max(lengths), 5).to(dtype)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    kept = features.States(tmp_path_factory.mktemp("states") if in_file else None)
    half = len(lengths) // 2
    for part in (slice(0, half), slice(half, None)):
        if len(values[part]):
            kept.append(values[part], mask[part])
    rows = np.random.default_rng(seed).integers(0, len(lengths), 9)
    found, real = kept.read(rows)
    assert found.dtype is dtype
    assert len(kept) == len(lengths)
    for row, ours, is_real in zip(rows, found, real, strict=True):
        assert is_real.sum() == lengths[row]
        assert torch.equal(ours[is_real], values[row][mask[row]])
    kept.append(values, mask)  # reading does not end the writing
    assert torch.equal(kept.read(np.array([len(lengths)]))[0][0], values[0][mask[0]])
