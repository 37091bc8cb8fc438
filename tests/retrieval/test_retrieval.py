"""Retrieval on a random model equals a computation pair by pair."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from xfm.config.training import Precision
from xfm.data.schema import Tokens
from xfm.metrics.ranking import ranks_of_best_positive
from xfm.modeling.features import Encoder, encode_images, encode_texts, tokenize_captions
from xfm.modeling.folder import Pretrained
from xfm.retrieval.in_memory import (
    MATCHING_WEIGHT,
    Reranked,
    Scores,
    evaluate_scores,
    matching_logits,
    merge_ranking,
    prefers_first,
    rerank_scores,
    score_all,
)

CAPTIONS = [
    "a red square",
    "a blue square left of a green square",
    "where",
    "yes it is",
    "a yellow square no",
]


@pytest.fixture
def encoder(pretrained: Pretrained) -> Encoder:
    return Encoder(pretrained.model, pretrained.tokenizer, Precision.FP32, batch_size=2)


@pytest.fixture
def inputs(pretrained: Pretrained) -> tuple[torch.Tensor, Tokens]:
    return torch.randn(4, 3, 32, 32), tokenize_captions(pretrained.tokenizer, CAPTIONS)


@torch.no_grad()
def brute_force(
    pretrained: Pretrained, pixels: torch.Tensor, tokens: Tokens
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Contrastive score and matching logits of every pair, one pair at a time, without padding."""
    model = pretrained.model
    itc, itm = np.empty((len(pixels), len(tokens.ids))), np.empty((len(pixels), len(tokens.ids), 2))
    for i, picture in enumerate(pixels):
        for r, (ids, mask) in enumerate(zip(tokens.ids, tokens.mask, strict=True)):
            ids, mask = ids[mask][None], mask[mask][None]
            itc[i, r] = (model.embed_image(picture[None]) * model.embed_text(ids, mask)).sum()
            fused = model.fuse(model.encode_text(ids, mask), mask, model.encode_image(picture[None]))
            itm[i, r] = model.itm_head(fused[:, 0])[0].numpy()
    return itc, itm


def test_scores_equal_brute_force(
    pretrained: Pretrained, encoder: Encoder, inputs: tuple[torch.Tensor, Tokens]
) -> None:
    pixels, tokens = inputs
    itc, itm = brute_force(pretrained, pixels, tokens)
    images = encode_images(encoder, pixels.split(3), len(pixels))
    texts = encode_texts(encoder, tokens)
    for shortlist in (1, 3, 99):
        scores = score_all(encoder, images, texts, shortlist)
        np.testing.assert_allclose(scores.itc, itc, atol=1e-5)
        matching = itm[..., 1]
        log_odds = itm[..., 1] - itm[..., 0]
        combined = itc / pretrained.model.temperature.item() + MATCHING_WEIGHT * log_odds
        for found, by_itc, by_itm in (
            (scores.matching.text, itc, matching),
            (scores.matching.image.T, itc.T, matching.T),
            (scores.rerank.text, itc, combined),
            (scores.rerank.image.T, itc.T, combined.T),
        ):
            for query in range(len(found)):
                best = sorted(range(found.shape[1]), key=lambda c: -by_itc[query, c])
                short = sorted(best[:shortlist], key=lambda c: -by_itm[query, c])
                assert np.argsort(-found[query]).tolist() == short + best[shortlist:]


def test_chosen_pairs_come_back_in_their_order(
    pretrained: Pretrained, encoder: Encoder, inputs: tuple[torch.Tensor, Tokens]
) -> None:
    pixels, tokens = inputs
    _, itm = brute_force(pretrained, pixels, tokens)
    pairs = np.array([[3, 0], [0, 4], [3, 2], [1, 1], [0, 0], [2, 3], [3, 0]] * 3)
    found = matching_logits(
        encoder, encode_images(encoder, [pixels], 4), encode_texts(encoder, tokens), pairs
    )
    np.testing.assert_allclose(found, itm[pairs[:, 0], pairs[:, 1]], atol=1e-5)


def test_states_are_kept_in_bf16_in_bf16_arithmetic(
    pretrained: Pretrained, inputs: tuple[torch.Tensor, Tokens]
) -> None:
    pixels, tokens = inputs
    encoder = Encoder(pretrained.model, pretrained.tokenizer, Precision.BF16)
    images, texts = encode_images(encoder, [pixels], 4), encode_texts(encoder, tokens)
    assert images.states.dtype is texts.states.dtype is torch.bfloat16
    assert images.vectors.dtype is texts.vectors.dtype is torch.float32
    itc, itm = brute_force(pretrained, pixels, tokens)
    scores = score_all(encoder, images, texts, 99)
    np.testing.assert_allclose(scores.itc, itc, atol=0.05)
    np.testing.assert_allclose(scores.matching.text, itm[..., 1], atol=0.05)


def test_recalls_of_both_directions() -> None:
    rng = np.random.default_rng(0)
    itc, text, image, matching = rng.random((4, 20, 20))
    positives = np.eye(20, dtype=bool)
    scores = Scores(itc, Reranked(text, image), Reranked(matching, matching))
    found = evaluate_scores(scores, positives, resamples=200, seed=0)
    for name, matrix, k in (
        ("text_r1", itc, 1),
        ("image_r5", itc.T, 5),
        ("text_r10_rerank", text, 10),
        ("image_r1_rerank", image.T, 1),
        ("text_r5_matching", matching, 5),
        ("image_r1_matching", matching.T, 1),
    ):
        order = np.argsort(-matrix, axis=1)
        assert found.recalls[name] == np.mean([row in order[row, :k] for row in range(20)])
    pooled = [found.recalls[f"{d}_r1_rerank"] - found.recalls[f"{d}_r1"] for d in ("text", "image")]
    assert found.gain.value == pytest.approx(np.mean(pooled))
    assert found.gain.low <= found.gain.value <= found.gain.high
    assert found.chances == pytest.approx(
        {f"{d}_r{k}": k / 20 for d in ("text", "image") for k in (1, 5, 10)}
    )


def test_gain_pools_queries_when_pictures_have_several_captions() -> None:
    rng = np.random.default_rng(1)
    itc, text, image = rng.random((3, 6, 18))
    positives = np.repeat(np.eye(6, dtype=bool), 3, axis=1)
    found = evaluate_scores(
        Scores(itc, Reranked(text, image), Reranked(itc, itc)), positives, resamples=50, seed=0
    )
    hits = {
        "before": [ranks_of_best_positive(m, p) == 0 for m, p in ((itc, positives), (itc.T, positives.T))],
        "after": [ranks_of_best_positive(m, p) == 0 for m, p in ((text, positives), (image.T, positives.T))],
    }
    before, after = (np.concatenate(hits[name]).mean() for name in ("before", "after"))
    assert found.gain.value == pytest.approx(after - before)


def test_a_perfect_reranker_gains_significantly() -> None:
    rng = np.random.default_rng(2)
    itc = rng.random((100, 100)) + 0.3 * np.eye(100)
    itm = np.eye(100)
    short = np.ones((100, 100), dtype=bool)
    perfect = Reranked(merge_ranking(itc, itm, short), merge_ranking(itc.T, itm.T, short).T)
    found = evaluate_scores(Scores(itc, perfect, perfect), np.eye(100, dtype=bool), resamples=300, seed=0)
    assert found.recalls["text_r1_rerank"] == found.recalls["image_r1_rerank"] == 1.0
    assert found.gain.low > 0


def test_the_corrected_order_is_right_when_negatives_follow_itc() -> None:
    """With an ideal matching head (log-odds of truth against ITC's draws) the rule gives the true order."""
    rng = np.random.default_rng(3)
    temperature = 0.1
    cosines, truth = rng.uniform(-1, 1, (2, 50))
    believed = cosines / temperature - np.logaddexp.reduce(cosines / temperature)
    odds = np.log(truth + 1) - believed
    logits = np.stack([rng.normal(size=50), np.zeros(50)], axis=-1)
    logits[:, 1] = logits[:, 0] + odds
    scores = rerank_scores(cosines, logits, temperature, weight=1.0)
    assert np.argsort(scores).tolist() == np.argsort(truth).tolist()


def test_the_weight_lies_between_contrast_and_its_correction() -> None:
    rng = np.random.default_rng(4)
    cosines, logits = rng.uniform(-1, 1, 50), rng.normal(size=(50, 2))
    alone, half, whole = (rerank_scores(cosines, logits, 0.1, weight) for weight in (0.0, 0.5, 1.0))
    np.testing.assert_allclose(alone, cosines / 0.1)
    np.testing.assert_allclose(half, (alone + whole) / 2)


def test_hard_distractors() -> None:
    scores = [np.array([0.9, 0.1]), np.array([0.2, 0.3, 0.1]), np.array([0.5, 0.5])]
    assert prefers_first(scores).tolist() == [True, False, False]
